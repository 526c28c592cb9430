// Why a stored result is read, or is not, as a sentence for people.

/** What was asked about a stored port, and the answer. Times in milliseconds. */
export interface ReuseQuestion {
  isReused: boolean;
  /** It is a result, or something that runs reads it. */
  isNeeded: boolean;
  /** People look at it, or nothing consumes it. */
  isResult: boolean;
  /** Its operator runs whatever becomes of this port. */
  runsAnyway: boolean;
  readMs: number;
  recomputeMs: number;
  byteCount: bigint;
}

export function reuseReason(question: ReuseQuestion): string {
  const { isReused, isNeeded, isResult, runsAnyway, readMs, recomputeMs, byteCount } = question;
  if (!isNeeded) return "Nothing that runs reads it.";
  if (isReused && isResult && readMs === 0) return "It is there, and nothing that runs reads it.";
  if (isReused && isResult) return `It is there; what runs reads its ${sizeOf(byteCount)} (${shownMs(readMs)}).`;
  const reading = `Reading ${sizeOf(byteCount)} (${shownMs(readMs)})`;
  if (!isReused && runsAnyway)
    return `${reading} would come on top: its operator runs anyway, for another of its ports.`;
  const again = `computing it again (${shownMs(recomputeMs)})`;
  if (!isReused) return `${reading} is dearer than ${again}.`;
  return readMs < recomputeMs ? `${reading} is cheaper than ${again}.` : `${reading} is no dearer than ${again}.`;
}

/** Whole milliseconds with thousands separated; below one, that it is. */
const shownMs = (ms: number): string => (ms > 0 && ms < 1 ? "under 1 ms" : `${Math.round(ms).toLocaleString("en")} ms`);

const UNITS = ["kB", "MB", "GB", "TB", "PB", "EB"];

/** Bytes in the largest decimal unit that leaves at least one, with one digit below ten. */
export function sizeOf(bytes: bigint): string {
  if (bytes < 1_000n) return `${bytes} bytes`;
  let size = Number(bytes) / 1_000;
  let unit = 0;
  // 999.5 of one unit would be shown as 1,000 of it.
  for (; size >= 999.5 && unit < UNITS.length - 1; unit++) size /= 1_000;
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size)} ${UNITS[unit]}`;
}
