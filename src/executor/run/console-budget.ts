// How much user code may say on the stream: a budget of bytes per second, and a count of what was left out since the
// reader was last told. Pure: the caller brings the clock.

export interface ConsoleBudget {
  /** Whether a line of so many bytes may go now; one that may not is counted as left out. */
  admit(bytes: number, nowMs: number): boolean;
  /** An admitted line could not be sent after all. */
  leaveOut(): void;
  /** Lines left out of which the reader has not been told. */
  untold(): number;
  /** The reader has been told. */
  told(): void;
  /** True when a new second has begun in which nothing has been said: no line will tell of the gap soon. */
  isQuiet(nowMs: number): boolean;
  /** Lines left out in all. */
  dropped(): number;
}

export const CONSOLE_BYTES_PER_SECOND = 64 * 1024;

export function consoleBudget(bytesPerSecond = CONSOLE_BYTES_PER_SECOND): ConsoleBudget {
  let windowStart = Number.NEGATIVE_INFINITY;
  let spent = 0;
  let untold = 0;
  let dropped = 0;
  const leaveOut = () => {
    untold++;
    dropped++;
  };
  return {
    admit(bytes, nowMs) {
      if (nowMs - windowStart >= 1000) {
        windowStart = nowMs;
        spent = 0;
      }
      if (spent + bytes > bytesPerSecond) {
        leaveOut();
        return false;
      }
      spent += bytes;
      return true;
    },
    leaveOut,
    untold: () => untold,
    told: () => {
      untold = 0;
    },
    isQuiet: (nowMs) => nowMs - windowStart >= 1000,
    dropped: () => dropped,
  };
}
