// Following one execution's log: catch up from the table, then live. The cursor is the last number sent; a slow watcher
// reads later and loses nothing.
import { ExecutionEvent, type WatchExecutionResponse } from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import { isTerminal } from "../../core/execution-state.js";
import { createWakeUp } from "../../process/wake-up.js";
import type { Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { eventsAfter } from "../repositories/execution-events.js";
import { executionById } from "../repositories/executions.js";

const PAGE_EVENTS = 500;
const PAGE_BYTES = 1024 * 1024;
/** How long a lost hint can delay a watcher. */
const BACKSTOP_MS = 1_000;

/**
 * Events numbered higher than `after` until the one that ends the execution, with one `caughtUp` after those that lay
 * in the log at the start. Ends at once when the log already ended before `after`.
 */
export async function* followEvents(
  { db, hints, draining }: { db: Queryable; hints: Hints; draining: AbortSignal },
  executionId: string,
  after: bigint,
  clientGone: AbortSignal,
): AsyncGenerator<WatchExecutionResponse> {
  const signal = AbortSignal.any([clientGone, draining]);
  const wakeUp = createWakeUp();
  const stopListening = hints.onExecution(executionId, wakeUp.wake);
  try {
    let cursor = after;
    let caughtUp = false;
    while (!signal.aborted) {
      const rows = await eventsAfter(db, { executionId, after: cursor, limit: PAGE_EVENTS, maxBytes: PAGE_BYTES });
      for (const row of rows) {
        yield { item: { $case: "event", value: ExecutionEvent.decode(row.body) } };
        cursor = row.number;
      }
      // Only an empty page says that nothing is left: a page may be short because its events are large.
      if (rows.length > 0) continue;
      if (!caughtUp) {
        caughtUp = true;
        yield { item: { $case: "caughtUp", value: { number: cursor } } };
      }
      if (await logEndsAt(db, executionId, cursor)) return;
      await wakeUp.wait(BACKSTOP_MS, signal);
    }
    // Ending well would say that the execution has ended.
    throw new AppError("unavailable", "DRAINING", "This server is stopping: watch on from the last number you saw.");
  } finally {
    stopListening();
  }
}

/** True when the execution has ended (or was deleted) and nothing lies beyond the cursor. */
async function logEndsAt(db: Queryable, executionId: string, cursor: bigint): Promise<boolean> {
  const row = await executionById(db, executionId);
  return row === undefined || (isTerminal(row.state) && row.lastEventNumber <= cursor);
}
