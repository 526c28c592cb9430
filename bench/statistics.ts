// The few numbers a benchmark tells of many.

/** The middle one; of an even count the mean of the middle two. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error("There is nothing to take a median of.");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value that `share` (0 to 1) of the values do not exceed. */
export function percentile(values: ArrayLike<number>, share: number): number {
  if (values.length === 0) throw new Error("There is nothing to take a percentile of.");
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1))]!;
}

/** Lowest and highest, for notes. */
export const spread = (values: readonly number[]): string =>
  `${Math.round(Math.min(...values)).toLocaleString("en")}-${Math.round(Math.max(...values)).toLocaleString("en")}`;
