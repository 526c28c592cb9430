// What an attached executor must be told although it did not ask: commands, and that its stream is over because somebody
// took over, the executor came back by another stream, or the execution has ended. One loop asks for all streams of this
// replica at once, when a hint says so and once a second.
import { type AppError, illegalTransition, notFound, staleLease } from "../../core/app-error.js";
import { isTerminal } from "../../core/execution-state.js";
import { keepRunning } from "../../process/keep-running.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp } from "../../process/wake-up.js";
import type { Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { type CommandRow, pendingCommandsOf } from "../repositories/execution-commands.js";
import type { StreamFence } from "../repositories/execution-leases.js";
import { type LeaseStanding, leaseStandings } from "../repositories/stream-writes.js";
import { superseded } from "./group-write.js";

/** How long a lost hint can delay a command, or the end of a stream that is over. */
const BACKSTOP_MS = 1_000;

export interface AttachedStream {
  fence: StreamFence;
  /** Every pending command of the attempt; told again until it is acknowledged. */
  command(command: CommandRow): void;
  /** The stream speaks for nothing any more. */
  over(why: AppError): void;
}

export interface StreamAttention {
  /** Looks after a stream until the returned function is called. */
  attend(stream: AttachedStream): () => void;
  /** Works until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Deps {
  db: Queryable;
  hints: Pick<Hints, "onExecutorConcern">;
  log: Logger;
}

export function createStreamAttention({ db, hints, log }: Deps): StreamAttention {
  const streams = new Map<string, Set<AttachedStream>>();
  let concerned = new Set<string>();
  const wakeUp = createWakeUp();

  function concern(executionId: string): void {
    concerned.add(executionId);
    wakeUp.wake();
  }

  async function look(executionIds: string[]): Promise<void> {
    if (executionIds.length === 0) return;
    const [standings, commands] = await Promise.all([
      leaseStandings(db, executionIds),
      pendingCommandsOf(db, executionIds),
    ]);
    const standing = new Map(standings.map((row) => [row.executionId, row]));
    for (const id of executionIds)
      for (const stream of streams.get(id) ?? []) {
        const why = overBecause(stream.fence, standing.get(id));
        if (why) stream.over(why);
      }
    for (const command of commands)
      for (const stream of streams.get(command.executionId) ?? []) stream.command(command);
  }

  return {
    attend(stream) {
      const { executionId } = stream.fence;
      const attended = streams.get(executionId) ?? new Set();
      streams.set(executionId, attended.add(stream));
      const stopListening = hints.onExecutorConcern(executionId, () => concern(executionId));
      concern(executionId);
      return () => {
        stopListening();
        attended.delete(stream);
        if (attended.size === 0 && streams.get(executionId) === attended) streams.delete(executionId);
      };
    },
    run(signal) {
      let lookedAt = Number.NEGATIVE_INFINITY;
      return keepRunning({ name: "looking after attached executors", log, signal, maxMs: BACKSTOP_MS }, async () => {
        await wakeUp.wait(Math.max(1, BACKSTOP_MS - (performance.now() - lookedAt)), signal);
        const everybody = performance.now() - lookedAt >= BACKSTOP_MS;
        if (everybody) lookedAt = performance.now();
        const ids = everybody ? [...streams.keys()] : [...concerned];
        concerned = new Set();
        await look(ids);
      });
    },
  };
}

function overBecause(fence: StreamFence, now: LeaseStanding | undefined): AppError | undefined {
  if (!now) return notFound(`execution "${fence.executionId}"`);
  if (isTerminal(now.state)) return illegalTransition(now.state, "reported on");
  // These only rise: what is lower was read before this stream took its lease.
  if (now.epoch > fence.epoch || now.attempt > fence.attempt) return staleLease(fence.epoch, now.epoch);
  const isOlder = now.epoch === fence.epoch && now.attachment > fence.attachment;
  return isOlder ? superseded() : undefined;
}
