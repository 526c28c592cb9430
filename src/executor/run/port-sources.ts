// Where a run has its ports from: there already, out of the cache, from another execution that computes them, or by its
// own work.
//
// S1  The cache is asked about a port when the run would have to write it, once; again when its object was not whole, and
//     when it was given back and is needed after all.
// S2  A hit is used when reading it is estimated no dearer than computing it again (core/reuse.ts, as the server did for
//     what it knew then), and always when it was waited for. That is decided once: the run may have begun to compute it.
// S3  A reservation is either about to be fulfilled or given back. All BUSY ports are watched, for who is told BUSY stands
//     in line: one that is not needed any more must be given on, should it be inherited.
// S4  Every hit that is taken over is told as a port of this execution: what was reused is read off the registry, and the
//     next try begins with it. What came with the spec is registered already.
import type { PortReuse } from "../../contract/postern/v1/execution.js";
import { type ExecutionSpec, RunState } from "../../contract/postern/v1/execution.js";
import { operatorKey } from "../../core/plan.js";
import { type PortReuse as Estimate, planReuse, type StoredPort } from "../../core/reuse.js";
import type { PortAnswer } from "../cache/port-answer.js";
import type { PortCache } from "../cache/port-cache.js";
import { type PortGraph, type Work, workLeft } from "./agenda.js";
import { throwIfStopped } from "./failure.js";
import type { Report } from "./report.js";
import { type KnownDecision, reuseDecision } from "./reuse-decision.js";
import type { RunPorts } from "./run-ports.js";

export interface PortSourcesDeps {
  graph: PortGraph;
  spec: Pick<ExecutionSpec, "lastRun">;
  ports: RunPorts;
  cache: PortCache;
  report: Pick<Report, "port">;
  stop: AbortSignal;
  /** The cache has said something new: `settle` is due. */
  onNews(): void;
}

export interface PortSources {
  /** True at first, and whenever the cache has said something since. */
  isDue(): boolean;
  /** Finds out where every port comes from that the run needs, as far as that can be known now. */
  settle(): Promise<Work>;
  /** True for ports that another execution computes. */
  isExpected(id: string): boolean;
  /** Number of the reservation a port fulfils; 0 for none. */
  reservationOf(id: string): bigint;
  /** What became of the ports the cache was asked for, in plan order. */
  decisions(): PortReuse[];
}

/** A server takes no more in one call; what is left is told with the next. */
const MOST_BROKEN_URIS = 1_000;

export function createPortSources(deps: PortSourcesDeps): PortSources {
  const { graph, ports, cache, report, stop } = deps;
  /** The answers, by global port id. */
  const answers = new Map<string, PortAnswer>();
  /** Hits that are computed again, with the estimates that spoke for it. */
  const declined = new Map<string, Estimate | undefined>();
  /** Hits that were waited for. */
  const waitedFor = new Set<string>();
  /** Ports whose hit was broken once. */
  const brokenOnce = new Set<string>();
  /** What is decided of the ports that were asked for. */
  const decided = new Map<string, KnownDecision>();
  let brokenUris = ports.brokenUris;
  /** What speaks for reading a stored port, and for computing it, as things stood at the last look. */
  let estimateOf: (id: string) => Estimate | undefined = () => undefined;
  /** Ports others compute that the run needs, as of the last look. */
  let awaited: ReadonlySet<string> = new Set();
  let isDue = true;

  const idsOf = (kind: PortAnswer["kind"]) => [...answers].filter(([, one]) => one.kind === kind).map(([id]) => id);
  const seconds = new Map(
    deps.spec.lastRun
      .filter(({ state }) => state === RunState.RUN_STATE_COMPLETED)
      .map((figures) => [operatorKey(figures), Number(figures.busyMs) / 1_000]),
  );

  /** S2. Planned once somebody asks: those who hear of what they waited for go on without. */
  function estimate(): void {
    const stored = new Map<string, StoredPort>();
    for (const id of graph.outputs.keys()) {
      const answer = answers.get(id);
      const known = ports.storedOf(id) ?? (answer?.kind === "hit" ? answer.result : undefined);
      if (known) stored.set(id, { ...known, computeMs: Number(known.computeMs) });
    }
    let estimates: Map<string, Estimate> | undefined;
    estimateOf = (id) => {
      estimates ??= new Map(
        planReuse(graph.plan, { stored, viewed: graph.wanted, seconds }).decisions.map((one) => [
          one.globalPortId,
          one,
        ]),
      );
      return estimates.get(id);
    };
  }
  const isUsable = (id: string) => waitedFor.has(id) || (!declined.has(id) && estimateOf(id)?.reused === true);

  /** Takes over the hits that are read or wanted; false when there was none to take. */
  async function takeHits(work: Work): Promise<boolean> {
    let taken = false;
    for (const id of work.awaited) {
      const answer = answers.get(id);
      if (answer?.kind !== "hit") continue;
      taken = true;
      await takeHit(id, answer);
    }
    return taken;
  }

  async function takeHit(id: string, { result }: Extract<PortAnswer, { kind: "hit" }>): Promise<void> {
    const { port } = graph.outputs.get(id)!;
    answers.delete(id);
    if (await ports.takeOver(port, result)) {
      await report.port(ports.addReused(port));
      const estimate = estimateOf(id);
      const { tupleCount, byteCount, sourceExecutionId } = result;
      decided.set(id, {
        reused: true,
        readMs: estimate?.readMs ?? 0,
        recomputeMs: estimate?.recomputeMs ?? Number(result.computeMs),
        reason: waitedFor.has(id) ? "Another execution computed it while this one waited." : (estimate?.reason ?? ""),
        tupleCount,
        byteCount,
        sourceExecutionId,
      });
      return;
    }
    const reason = "Its stored rows are gone or damaged.";
    if (brokenOnce.has(id)) answers.set(id, { kind: "compute", reason });
    decided.set(id, { reason });
    brokenOnce.add(id);
    brokenUris = [...brokenUris, result.uri];
  }

  /** Asks about own ports nobody asked about; false when there are none (S1). */
  async function ask(work: Work): Promise<boolean> {
    const unasked = [...work.own.values()].filter(({ id, port }) => port.subdagHash !== "" && !answers.has(id));
    if (unasked.length === 0) return false;
    const broken = brokenUris.slice(0, MOST_BROKEN_URIS);
    brokenUris = brokenUris.slice(MOST_BROKEN_URIS);
    const ids = unasked.map(({ id }) => id);
    const found = await cache.lookUp(ids, { brokenUris: broken, signal: stop }).catch((error: unknown) => {
      throwIfStopped(stop);
      throw error;
    });
    for (const [id, answer] of found) {
      answers.set(id, answer);
      if (!decided.has(id)) decided.set(id, {});
    }
    return true;
  }

  /** S3 */
  function letGo(work: Work): void {
    const unneeded = idsOf("reserved").filter((id) => !work.own.has(id) && ports.storedOf(id) === undefined);
    cache.release(unneeded.map((id) => reservationOf(id)));
    for (const id of unneeded) answers.delete(id);
  }

  const reservationOf = (id: string): bigint => {
    const answer = answers.get(id);
    return answer?.kind === "reserved" ? answer.reservation : 0n;
  };

  function hear(id: string, answer: PortAnswer): void {
    if (stop.aborted) return;
    answers.set(id, answer);
    if (answer.kind === "hit") {
      waitedFor.add(id);
      // Nothing changes for a run that reads what is made from it, and that is still to come.
      if (!awaited.has(id)) return;
    }
    isDue = true;
    deps.onNews();
  }

  return {
    isDue: () => isDue,
    async settle() {
      for (;;) {
        throwIfStopped(stop);
        isDue = false;
        estimate();
        const expected = new Set([...idsOf("busy"), ...idsOf("hit").filter(isUsable)]);
        const work = workLeft(graph, ports.there(), expected);
        awaited = work.awaited;
        if ((await takeHits(work)) || (await ask(work))) continue;
        letGo(work);
        for (const id of idsOf("hit")) if (work.own.has(id) && !declined.has(id)) declined.set(id, estimateOf(id));
        cache.watch(idsOf("busy"), hear);
        return work;
      }
    },
    isExpected: (id) => answers.get(id)?.kind === "busy",
    reservationOf,
    decisions: () =>
      [...graph.outputs.keys()].flatMap((id) => {
        const known = decided.get(id);
        if (!known) return [];
        const isWritten = ports.storedOf(id) !== undefined;
        return [
          reuseDecision(id, known, {
            answer: answers.get(id),
            isWritten,
            estimate: declined.get(id) ?? estimateOf(id),
          }),
        ];
      }),
  };
}
