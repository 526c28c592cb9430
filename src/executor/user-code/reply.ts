// What a child may reply. Its word is not trusted: only these shapes get through, and each value is checked against its
// column's type where it is stored (values.ts).
import type { Cell } from "./values.js";

/** Rows from the function, as columns; `origins` tells for each the row of the batch it comes from. */
export interface OutputRows {
  rows: number;
  origins: number[];
  columns: Cell[][];
  /** True for the last reply to a batch. */
  done: boolean;
}

/** What the child says went wrong. */
export interface ChildError {
  kind: "exception" | "timeout" | "memory" | "output";
  message: string;
  trace: string;
  /** Row of the batch, from 0; absent outside a batch. */
  row?: number;
}

const KINDS = ["exception", "timeout", "memory", "output"] as const;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const isIndex = (value: unknown, below: number): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value < below;

/** The error a frame tells of, if it tells of one. */
export function errorOf(frame: unknown): ChildError | undefined {
  if (!isObject(frame) || !isObject(frame.error)) return undefined;
  const { kind, message, trace, row } = frame.error;
  return {
    kind: KINDS.find((known) => known === kind) ?? "exception",
    message: typeof message === "string" ? message : "an error without a message",
    trace: typeof trace === "string" ? trace : "",
    row: isIndex(row, 1_000_000) ? row : undefined,
  };
}

/** The rows a frame holds; undefined when it holds none that fit the batch and the declared columns. */
export function rowsOf(frame: unknown, expected: { inputRows: number; columns: number }): OutputRows | undefined {
  if (!isObject(frame)) return undefined;
  const { rows, origins, columns, done } = frame;
  if (!isIndex(rows, 65_536) || typeof done !== "boolean") return undefined;
  if (!Array.isArray(origins) || origins.length !== rows) return undefined;
  if (!origins.every((origin) => isIndex(origin, expected.inputRows))) return undefined;
  if (!Array.isArray(columns) || columns.length !== expected.columns) return undefined;
  if (!columns.every((column) => Array.isArray(column) && column.length === rows)) return undefined;
  return { rows, origins, columns, done };
}
