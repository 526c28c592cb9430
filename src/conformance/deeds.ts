// Steps that many scenarios share.
import { ExecutionState, type Manifest } from "../contract/postern/v1/execution.js";
import { AppError, staleLease } from "../core/app-error.js";
import { demand } from "./scenario.js";
import type { Stage } from "./stage.js";

/** Events per batch at most, where a scenario wants several batches. */
export const SMALL_WINDOW = 16n;
/** Credit that keeps an execution from ending until it is lifted; there is more to say than that. */
export const HELD_CREDIT = 32n;

const TERMINAL = [
  ExecutionState.EXECUTION_STATE_COMPLETED,
  ExecutionState.EXECUTION_STATE_FAILED,
  ExecutionState.EXECUTION_STATE_KILLED,
];

/** Some events are stored, and more are held back. */
export const someEvents = ({ server, until }: Stage) =>
  until(`report ${SMALL_WINDOW} events`, () => server.events.length >= Number(SMALL_WINDOW));

export const attachedAgain = ({ server, until }: Stage, times = 2, withinMs?: number) =>
  until(times === 2 ? "attach again" : `attach ${times} times`, () => welcomed(server.streams) >= times, { withinMs });

const welcomed = (streams: Stage["server"]["streams"]) => streams.filter((s) => s.welcomedAt !== undefined).length;

/** Some good end, with every event the executor was asked for. */
export async function completed(stage: Stage, times = 1): Promise<Manifest> {
  const manifest = await ended(stage, times);
  const { length } = stage.server.events;
  const why = manifest.failure ? ` (its manifest says: ${manifest.failure.message})` : "";
  demand(
    length >= stage.lines,
    () =>
      `Only ${length} events were reported${why}: report at least as many as POSTERN_CONFORMANCE_EVENTS says, ${stage.lines}.`,
  );
  return manifest;
}

/** Some end, told by a manifest that fits the execution; `times` counts Completes. */
export async function ended({ server, spec, until }: Stage, times = 1): Promise<Manifest> {
  const deed = times === 1 ? "send Complete" : "send Complete again";
  await until(deed, () => server.manifests.length >= times);
  const manifest = server.manifests.at(-1)!;
  demand(
    manifest.executionId === spec.executionId && manifest.attempt === spec.attempt,
    () =>
      `The manifest is of execution ${manifest.executionId}, attempt ${manifest.attempt}: it must be of ${spec.executionId}, attempt ${spec.attempt}.`,
  );
  demand(
    TERMINAL.includes(manifest.state),
    () => `The manifest's state is ${ExecutionState[manifest.state]}: it must be COMPLETED, FAILED or KILLED.`,
  );
  return manifest;
}

/** The executor has stopped its work, and does not come back for a while. */
export async function stopsForGood({ server, executor, mode, leaseMs, until, pause }: Stage): Promise<void> {
  const isFree = () => server.served.some((frame) => frame.$case === "slotsChanged" && frame.value.freeSlots > 0);
  const deed = mode === "pool" ? "stop the work and say SlotsChanged with a free slot" : "stop the work and end";
  await until(deed, () => executor.ending !== undefined || isFree(), { mayEnd: true });
  await pause(leaseMs, { mayEnd: true });
}

/** The longest time without a beat between two moments. */
export function longestSilence(beats: number[], from: number, to: number): number {
  const times = [from, ...beats.filter((at) => at > from && at < to), to];
  return Math.max(...times.slice(1).map((at, i) => at - times[i]!));
}

export const requireHeartbeats = (silenceMs: number, leaseMs: number) =>
  demand(
    silenceMs <= (leaseMs * 2) / 3,
    () =>
      `It was silent for ${Math.round(silenceMs)} ms of a lease of ${leaseMs} ms: send a Heartbeat every third of the lease, whatever else happens.`,
  );

export const STALE = staleLease(1n, 2n);
export const EXPIRED = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out: get a new one.");
export const AWAY = new AppError("unavailable", "UNAVAILABLE", "The server cannot serve this now: try again.");
