// A cache from memory that speaks CacheService on a real socket: entries, reservations, waiters in line.
import { type Channel, Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import {
  type CachedResult,
  CacheServiceService,
  type LookupPlanRequest,
  type LookupPlanResponse,
  PortLookup,
  PortLookup_Outcome,
  type ReleaseReservationsRequest,
  type WatchKeysRequest,
  type WatchKeysResponse,
} from "../../src/contract/postern/v1/cache.js";
import type { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { AppError } from "../../src/core/app-error.js";
import { openChannel } from "../../src/rpc/channel.js";
import { statusOf } from "../../src/rpc/status.js";

type Watch = ServerWritableStream<WatchKeysRequest, WatchKeysResponse>;

export interface FakeCache {
  /** Adds it to another server, where it is the same cache. */
  mount(server: Server): void;
  address: string;
  openChannel(): Channel;
  /** What it was asked: "lookup a b", "watch c", "release d", by operator id. */
  asked: string[];
  tokens: string[];
  /** `broken_uris` it was told. */
  brokenUris: string[];
  /** An entry for the operator's port, or none any more. */
  put(operatorId: string, result: Partial<CachedResult> | undefined): void;
  /** Somebody computes the operator's port. */
  hold(operatorId: string, holder: string): void;
  /** Who holds the operator's port. */
  holderOf(operatorId: string): string | undefined;
  /** A port event of an execution has been stored; returns what is wrong with it, or "". */
  commit(executionId: string, port: PortResult): string;
  /** The execution is over: what it held goes to the oldest in line. */
  end(executionId: string): void;
  /** Breaks every watch, as a lost connection would. */
  cut(): void;
  /** Answers every call with this error from now on. */
  refuse(error: AppError | undefined): void;
  close(): Promise<void>;
}

const operatorOf = (globalPortId: string) => /logicalOpId=([^,]+)/.exec(globalPortId)![1]!;

export async function startFakeCache(): Promise<FakeCache> {
  const entries = new Map<string, CachedResult>();
  const held = new Map<string, { holder: string; fencing: bigint }>();
  const fulfilled = new Map<string, bigint>();
  const lines = new Map<string, string[]>();
  const watches = new Map<Watch, Set<string>>();
  const asked: string[] = [];
  const tokens: string[] = [];
  const brokenUris: string[] = [];
  let fencing = 0n;
  let refusal: AppError | undefined;

  function hold(operatorId: string, holder: string): bigint {
    held.set(operatorId, { holder, fencing: ++fencing });
    return fencing;
  }

  function answer(globalPortId: string, executionId: string): PortLookup {
    const id = operatorOf(globalPortId);
    const result = entries.get(id);
    if (result) return PortLookup.fromPartial({ globalPortId, outcome: PortLookup_Outcome.OUTCOME_HIT, result });
    const { holder, fencing: number } = held.get(id) ?? {};
    if (holder !== undefined && holder !== executionId) {
      const line = lines.get(id) ?? [];
      if (!line.includes(executionId)) lines.set(id, [...line, executionId]);
      return PortLookup.fromPartial({ globalPortId, outcome: PortLookup_Outcome.OUTCOME_BUSY, reason: "Busy." });
    }
    const reservation = number ?? hold(id, executionId);
    return PortLookup.fromPartial({ globalPortId, outcome: PortLookup_Outcome.OUTCOME_RESERVED, reservation });
  }

  /** Tells watchers of a port what has become of it. */
  function tell(id: string): void {
    for (const [watch, ports] of watches)
      for (const globalPortId of [...ports]) {
        if (operatorOf(globalPortId) !== id) continue;
        const port = answer(globalPortId, watch.request.executionId);
        if (port.outcome === PortLookup_Outcome.OUTCOME_BUSY) continue;
        ports.delete(globalPortId);
        watch.write({ port });
      }
    for (const [watch, ports] of [...watches]) if (ports.size === 0) endWatch(watch);
  }

  function endWatch(watch: Watch): void {
    watches.delete(watch);
    watch.end();
  }

  function letGo(id: string): void {
    held.delete(id);
    const next = lines.get(id)?.shift();
    if (next !== undefined) hold(id, next);
    tell(id);
  }

  const enter = (what: string, ports: string[], metadata: { get(name: string): unknown[] }) => {
    asked.push([what, ...ports.map(operatorOf)].join(" "));
    tokens.push(String(metadata.get("authorization")[0] ?? "").slice("Bearer ".length));
  };

  const methods = {
    lookupPlan: (
      call: { request: LookupPlanRequest; metadata: { get(name: string): unknown[] } },
      done: (error: unknown, reply?: LookupPlanResponse) => void,
    ) => {
      const { executionId, globalPortIds, brokenUris: broken } = call.request;
      enter("lookup", globalPortIds, call.metadata);
      if (refusal) return done(statusOf(refusal, () => {}));
      brokenUris.push(...broken);
      for (const [id, { uri }] of [...entries]) if (broken.includes(uri)) entries.delete(id);
      done(null, { ports: globalPortIds.map((id) => answer(id, executionId)) });
    },
    releaseReservations: (
      call: { request: ReleaseReservationsRequest; metadata: { get(name: string): unknown[] } },
      done: (error: unknown, reply?: object) => void,
    ) => {
      const { executionId, reservations } = call.request;
      const ids = [...held].filter(([, one]) => one.holder === executionId && reservations.includes(one.fencing));
      asked.push(["release", ...ids.map(([id]) => id)].join(" "));
      if (refusal) return done(statusOf(refusal, () => {}));
      for (const [id] of ids) letGo(id);
      done(null, {});
    },
    watchKeys: (watch: Watch) => {
      enter("watch", watch.request.globalPortIds, watch.metadata);
      watch.on("error", () => watches.delete(watch));
      watch.on("cancelled", () => watches.delete(watch));
      if (refusal)
        return void watch.emit(
          "error",
          statusOf(refusal, () => {}),
        );
      watches.set(watch, new Set(watch.request.globalPortIds));
      for (const id of watch.request.globalPortIds) tell(operatorOf(id));
    },
  } as never;
  const mount = (server: Server) => server.addService(CacheServiceService, methods);
  const server = new Server();
  mount(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const address = `127.0.0.1:${port}`;

  return {
    mount,
    address,
    openChannel: () => openChannel({ address }),
    asked,
    tokens,
    brokenUris,
    put(id, result) {
      if (result === undefined) entries.delete(id);
      else
        entries.set(id, {
          uri: "",
          tupleCount: 0n,
          byteCount: 0n,
          computeMs: 60_000n,
          sourceExecutionId: "an earlier one",
          ...result,
        });
      held.delete(id);
      tell(id);
    },
    hold: (id, holder) => void hold(id, holder),
    holderOf: (id) => held.get(id)?.holder,
    commit(executionId, { key, uri, rowCount, byteCount, computeMs, reservation, reused }) {
      const id = key!.operatorId;
      if (reused || reservation === 0n) return "";
      const by = held.get(id);
      if (by?.holder !== executionId || by.fencing !== reservation)
        return fulfilled.get(id) === reservation ? "" : `${executionId} offers ${id} and holds no reservation of it`;
      held.delete(id);
      fulfilled.set(id, reservation);
      lines.delete(id);
      entries.set(id, { uri, tupleCount: rowCount, byteCount, computeMs, sourceExecutionId: executionId });
      tell(id);
      return "";
    },
    end(executionId) {
      for (const [id, { holder }] of [...held]) if (holder === executionId) letGo(id);
      for (const [id, line] of lines)
        lines.set(
          id,
          line.filter((one) => one !== executionId),
        );
    },
    cut() {
      const broken = new AppError("unavailable", "UNAVAILABLE", "The connection is gone.");
      for (const watch of [...watches.keys()]) {
        watches.delete(watch);
        watch.emit(
          "error",
          statusOf(broken, () => {}),
        );
      }
    },
    refuse(error) {
      refusal = error;
    },
    async close() {
      server.forceShutdown();
    },
  };
}
