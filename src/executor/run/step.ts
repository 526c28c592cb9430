// What a pass over a region does, one step after the other.
import type { OutputPort, PhysicalOperator, PortKey, Schema, UserFunction } from "../../core/plan.js";
import type { SkippingScan } from "./malformed-rows.js";
import type { FusedQuery } from "./query-profile.js";

/** What a step reads that was computed before. */
export interface Reads {
  /** Materialised ports, by global port id. */
  ports: Set<string>;
  /** Tables of earlier steps. */
  tables: Set<string>;
}

/** A SELECT. */
export interface Query {
  sql: string;
  /** Keys of the operators fused into it. */
  members: string[];
  /** Scans that leave out what does not fit. */
  skips: SkippingScan[];
  /** What became of them, for reading DuckDB's profile. */
  fused: FusedQuery;
}

interface StepBase {
  /** The operator whose output this step gives; the last of them. */
  operator: PhysicalOperator;
  /** Keys of the operators this step computes, `operator` last. */
  members: string[];
  /** Where its rows come from, beside datasets. */
  reads: Reads;
  /** Tables nobody needs after this step. */
  drops: string[];
}
/** Write the query's rows as the port's file. */
export type WriteStep = StepBase & { kind: "write"; port: OutputPort; query: Query };
/** Keep the query's rows, those of a port, in a table. */
export type KeepStep = StepBase & { kind: "keep"; port: OutputPort; table: string; query: Query };
/** Run user functions at the same time: the first reads queries, each further one what one before it gives. */
export type CallStep = StepBase & { kind: "call"; calls: FunctionCalls[] };
export type Step = WriteStep | KeepStep | CallStep;

/** One user function, what it reads and where its rows go. */
export interface FunctionCalls {
  operator: PhysicalOperator;
  userFunction: UserFunction;
  /** By input port. */
  inputs: CallInput[];
  /** By output port. */
  outputs: CallOutput[];
}

export type CallInput =
  /** `from` are the ports whose rows the query gives. */
  | { kind: "query"; schema: Schema; query: Query; from: PortKey[] }
  /** What another function of the step gives, by global port id. */
  | { kind: "stream"; schema: Schema; port: string };

export type CallOutput = { port: OutputPort } & (
  | { kind: "table"; table: string }
  | { kind: "stream" }
  /** Nobody reads it: its rows are counted and forgotten. */
  | { kind: "nothing" }
);

/** The tables a step makes. */
export function tablesOf(step: Step): string[] {
  switch (step.kind) {
    case "write":
      return [];
    case "keep":
      return [step.table];
    case "call":
      return step.calls.flatMap(({ outputs }) => outputs.flatMap((to) => (to.kind === "table" ? [to.table] : [])));
  }
}

/** The ids behind operator keys. */
export const operatorIdsOf = (keys: readonly string[]): string[] =>
  keys.map((key) => key.slice(0, key.lastIndexOf("/")));
