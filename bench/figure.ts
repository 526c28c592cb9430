// One figure of a benchmark: what was measured, the limit measured beside it in the same run, and what it must reach.

export interface Measurement {
  /** What `--only` selects; stable. */
  figure: string;
  value: number;
  unit: string;
  /** The limit, measured in the same run and in the same unit. */
  yardstick: number;
  bound: Bound;
}

/** What a figure must reach: a share of its yardstick, or a number of its own unit. */
export type Bound = { of: "ratio" | "value"; at: "least" | "most"; limit: number };

export const ratioAtLeast = (limit: number): Bound => ({ of: "ratio", at: "least", limit });
export const ratioAtMost = (limit: number): Bound => ({ of: "ratio", at: "most", limit });
export const atLeast = (limit: number): Bound => ({ of: "value", at: "least", limit });
export const atMost = (limit: number): Bound => ({ of: "value", at: "most", limit });

/** A measurement as it is printed: one JSON line. */
export interface Figure {
  figure: string;
  value: number;
  unit: string;
  yardstick: number;
  /** Value by yardstick. */
  ratio: number;
  /** For people and machines: `ratio >= 0.6`, `value <= 50`. */
  bound: string;
  holds: boolean;
}

export function judge({ figure, value, unit, yardstick, bound }: Measurement): Figure {
  const ratio = value / yardstick;
  const measured = bound.of === "ratio" ? ratio : value;
  return {
    figure,
    value: rounded(value),
    unit,
    yardstick: rounded(yardstick),
    ratio: rounded(ratio),
    bound: `${bound.of} ${bound.at === "least" ? ">=" : "<="} ${bound.limit}`,
    holds: bound.at === "least" ? measured >= bound.limit : measured <= bound.limit,
  };
}

/** Three digits that mean something; whole numbers stay whole. */
const rounded = (value: number): number =>
  Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(3));
