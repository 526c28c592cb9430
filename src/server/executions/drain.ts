// A replica that stops, or renews a stream, says so and lets the executor leave with nothing unacknowledged (S9).
import { createWakeUp } from "../../process/wake-up.js";

/** How long open streams may go on once a replica begins to stop. */
export const DRAIN_GRACE_MS = 5_000;

/** Tells the executor once that this replica stops, so that it reconnects elsewhere. */
export async function sendDrain(
  stream: { send(message: { frame: { $case: "drain"; value: { graceMs: number } } }): Promise<void> },
  draining: AbortSignal,
  ended: AbortSignal,
): Promise<void> {
  const wakeUp = createWakeUp();
  const either = AbortSignal.any([draining, ended]);
  while (!either.aborted) await wakeUp.wait(undefined, either);
  if (!ended.aborted) await stream.send({ frame: { $case: "drain", value: { graceMs: DRAIN_GRACE_MS } } });
}
