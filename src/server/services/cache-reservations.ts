// CacheService, what executions do with it: look up, wait, compute, commit.
import type * as wire from "../../contract/postern/v1/cache.js";
import { invalid } from "../../core/app-error.js";
import { LIVE_STATES } from "../../core/execution-state.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import type { CallContext, Caller } from "../access/caller.js";
import { requireWordOfPool, writableExecution } from "../access/execution-access.js";
import { commitPorts } from "../cache/commit-ports.js";
import { knowExecution, knownExecution } from "../cache/known-executions.js";
import { fenceRefusal, hit, type LookupDeps, lookUpPlan, missed, portWishes, reserved } from "../cache/lookup-plan.js";
import type { WaitingLine } from "../cache/waiting-line.js";
import { extendReservations, type LookupFor, releaseReservations } from "../repositories/cache-reservations.js";
import type { ExecutionRow } from "../repositories/executions.js";

interface Deps extends LookupDeps {
  line: WaitingLine;
  /** How often the right of a user who waits is looked at again, in milliseconds. */
  watchRightMs: number;
}

type Reserving = "lookupPlan" | "watchKeys" | "extendReservations" | "releaseReservations" | "commitPorts";

const MOST_RESERVATIONS = 10_000;
const DEFAULT_TTL_MS = 60_000;
const LONGEST_TTL_MS = 3_600_000;

export function cacheReservationMethods(
  deps: Deps,
): Pick<ServiceMethods<wire.CacheServiceServer, CallContext>, Reserving> {
  const { db } = deps;
  return {
    async lookupPlan(request, { caller }) {
      const known = knownExecution(db, caller, request.executionId);
      // Objects are forgotten only at the word of whom the row says that it holds the execution.
      if (known && request.brokenUris.length === 0) {
        const ports = await lookUpPlan(deps, known, speakerFor(caller, known), request);
        if (ports) return { ports };
      }
      const row = await writableExecution(db, caller, request.executionId);
      knowExecution(db, caller, row);
      const by = speakerFor(caller, row);
      const ports = await lookUpPlan(deps, row, by, request);
      if (!ports) throw await fenceRefusal(db, by);
      return { ports };
    },

    async *watchKeys(request, { caller, signal, authenticateAgain }) {
      const row = await writableExecution(db, caller, request.executionId);
      if (!LIVE_STATES.includes(row.state)) throw await fenceRefusal(db, speakerFor(caller, row));
      if (request.globalPortIds.length === 0) throw invalid("Name the ports to wait for: those that were BUSY.");
      const wishes = portWishes(await deps.planOf(row), row, request.globalPortIds);
      const waited = wishes.flatMap((wish) =>
        wish.kind === "asked" && wish.lookup.looks && wish.lookup.reserves ? [wish.lookup.wanted] : [],
      );
      for (const wish of wishes) {
        const { wanted } = wish.port;
        if (!("reason" in wanted) && waited.includes(wanted)) continue;
        yield { port: missed(wish.port, wish.kind === "bypassed" ? wish.reason : wish.missReason) };
      }
      const right = watchRight(deps, caller, row, authenticateAgain);
      try {
        const { id: executionId, attempt, epoch, projectId } = row;
        const ends = deps.line.watch(
          { executionId, attempt, epoch, projectId },
          waited,
          AbortSignal.any([signal, right.signal]),
        );
        for await (const { port, uri, reservation, ...figures } of ends) {
          if (uri !== null) yield { port: hit(port.globalPortId, { ...figures, uri }) };
          else if (reservation !== null) yield { port: reserved(port, reservation) };
          else yield { port: missed(port, "There is an entry for it that this run may not use.") };
        }
      } finally {
        right.stop();
      }
    },

    async extendReservations(request, { caller }) {
      requireFew(request.reservations);
      const ttlMs = Number(request.ttlMs) || DEFAULT_TTL_MS;
      if (ttlMs < 0 || ttlMs > LONGEST_TTL_MS) throw invalid(`ttl_ms must be 0 to ${LONGEST_TTL_MS}.`);
      const by = await reporter(deps, caller, request.executionId);
      const held = new Set(await extendReservations(db, by, request.reservations, ttlMs));
      return { lost: request.reservations.filter((fencing) => !held.has(fencing)) };
    },

    async releaseReservations(request, { caller }) {
      requireFew(request.reservations);
      const by = await reporter(deps, caller, request.executionId);
      deps.hints.cacheChanged(await releaseReservations(db, by, request.reservations));
      return {};
    },

    async commitPorts(request, { caller }) {
      const row = await writableExecution(db, caller, request.executionId);
      requireWordOfPool(caller, row);
      const actor = caller.kind === "user" ? caller.subject : `execution ${row.id}`;
      return commitPorts(deps, row, speakerFor(caller, row), request.commits, actor);
    },
  };
}

const speakerFor = (caller: Caller, row: Pick<ExecutionRow, "id">): LookupFor =>
  caller.kind === "execution"
    ? { executionId: row.id, attempt: caller.attempt, epoch: caller.epoch }
    : { executionId: row.id, attempt: null, epoch: null };

/** Who speaks for a live execution. */
async function reporter({ db }: Deps, caller: Caller, executionId: string): Promise<LookupFor> {
  const row = await writableExecution(db, caller, executionId);
  const by = speakerFor(caller, row);
  if (LIVE_STATES.includes(row.state)) return by;
  throw await fenceRefusal(db, by);
}

function requireFew(reservations: readonly bigint[]): void {
  if (reservations.length > MOST_RESERVATIONS)
    throw invalid(`${reservations.length} reservations are too many for one call; name at most ${MOST_RESERVATIONS}.`);
}

/**
 * Aborts when a user who waits may not any more. An executor's right is its lease: the line tells it when that has gone,
 * and the token it came with may well be older than what its stream was granted since.
 */
function watchRight(
  { db, watchRightMs }: Deps,
  caller: Caller,
  row: ExecutionRow,
  authenticateAgain: () => Promise<void>,
): { signal: AbortSignal; stop(): void } {
  const lost = new AbortController();
  if (caller.kind === "execution") return { signal: lost.signal, stop: () => {} };
  const look = async () => {
    await authenticateAgain();
    await writableExecution(db, caller, row.id);
  };
  const timer = setInterval(() => look().catch((error: unknown) => lost.abort(error)), watchRightMs);
  return { signal: lost.signal, stop: () => clearInterval(timer) };
}
