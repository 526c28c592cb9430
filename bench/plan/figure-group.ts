import type { Measurement } from "../figure.js";

export interface Scale {
  /** Plans of each kind. */
  plans: number;
  /** Large plans; each is searched five times for as long as a second. */
  largePlans: number;
  /** Milliseconds a search of a large plan may take. */
  deadlineMs: number;
}

export const FULL: Scale = { plans: 60, largePlans: 6, deadlineMs: 1_000 };
/** Proves that the bench works; its numbers mean little. */
export const QUICK: Scale = { plans: 6, largePlans: 1, deadlineMs: 200 };

export interface FigureDeps {
  scale: Scale;
  /** For people, on standard error. */
  note: (line: string) => void;
}

/** Figures that are measured together; each is yielded as it is known. */
export interface FigureGroup {
  figures: readonly string[];
  measure(deps: FigureDeps): Iterable<Measurement> | AsyncIterable<Measurement>;
}
