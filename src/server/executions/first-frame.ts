// Reading a stream frame by frame while something else may end it.
import { AppError } from "../../core/app-error.js";

const FIRST_FRAME_WITHIN_MS = 10_000;

/** The next frame, or the signal's reason once it aborts. */
export async function nextFrame<Frame>(
  frames: AsyncIterator<Frame>,
  signal: AbortSignal,
): Promise<IteratorResult<Frame>> {
  signal.throwIfAborted();
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([frames.next(), aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The first frame; a stream that stays silent holds nothing for long. */
export async function firstFrame<Frame>(frames: AsyncIterator<Frame>, signal: AbortSignal): Promise<Frame | undefined> {
  const tooLate = new AbortController();
  const refusal = new AppError("deadline", "DEADLINE_EXCEEDED", "The stream's first frame did not come in time.");
  const timer = setTimeout(() => tooLate.abort(refusal), FIRST_FRAME_WITHIN_MS);
  try {
    const first = await nextFrame(frames, AbortSignal.any([signal, tooLate.signal]));
    return first.done ? undefined : first.value;
  } finally {
    clearTimeout(timer);
  }
}
