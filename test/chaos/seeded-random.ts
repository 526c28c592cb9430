// Chance that can be repeated: the same seed makes the same decisions in the same order.

export interface SeededRandom {
  /** From 0 up to, and without, 1. */
  next(): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True in `share` of the cases. */
  chance(share: number): boolean;
  pick<T>(from: readonly T[]): T;
  shuffled<T>(of: readonly T[]): T[];
}

/** Equal seeds give equal sequences. */
export function seededRandom(seed: string): SeededRandom {
  let state = hashOf(seed);
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  const pick = <T>(from: readonly T[]): T => {
    if (from.length === 0) throw new Error("There is nothing to pick from.");
    return from[between(0, from.length - 1)]!;
  };
  return {
    next,
    between,
    chance: (share) => next() < share,
    pick,
    shuffled: (of) => {
      const left = [...of];
      return of.map(() => left.splice(between(0, left.length - 1), 1)[0]!);
    },
  };
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash | 0;
}
