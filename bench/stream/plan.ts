// How long and how large a run of the bench is.
import type * as bench from "../run-groups.js";
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

export type FigureDeps = bench.FigureDeps<BenchSystem, Scale>;
export type FigureGroup = bench.FigureGroup<BenchSystem, Scale>;
