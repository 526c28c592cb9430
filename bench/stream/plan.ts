// How long and how large a run of the bench is, and what its figures are given.
import type { Measurement } from "../figure.js";
import type { BenchSystem } from "./system.js";

export interface Scale {
  rounds: number;
  /** How long one side of one round lasts. */
  seconds: number;
  /** Executors of the figures that have a thousand. */
  executors: number;
  /** How long the idle ones are watched. */
  idleSeconds: number;
}

export const FULL: Scale = { rounds: 5, seconds: 1.5, executors: 1_000, idleSeconds: 20 };
/** Proves that the bench works; its numbers mean nothing. */
export const QUICK: Scale = { rounds: 1, seconds: 0.3, executors: 20, idleSeconds: 1 };

export interface FigureDeps {
  system: BenchSystem;
  scale: Scale;
  /** For people, on standard error. */
  note: (line: string) => void;
  /** False when `--only` leaves the figure out. */
  wanted: (figure: string) => boolean;
}

/** A group of figures that share what they start; it yields each figure as it is known. */
export interface FigureGroup {
  figures: readonly string[];
  measure(deps: FigureDeps): AsyncIterable<Measurement>;
}
