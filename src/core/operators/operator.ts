// What the compiler must know about an operator type, and nothing more. Each type is one file beside this one;
// catalogue.ts lists them. An executor never sees definitions: the physical plan carries finished SQL.
import type { z } from "zod";
import type { DatasetScan, Json, OutputMode, PartitionRule, Properties, Schema, UserFunction } from "../plan.js";
import { explainIssues } from "./explain-issues.js";

/** A finding about one property of one operator; the compiler adds the operator. */
export interface Finding {
  /** Path such as `aggregates.0.column`; empty for the whole operator. */
  property: string;
  /** A sentence that says what is wrong and what to do. */
  message: string;
}

/** A SQL expression over the columns of `input0`. */
export interface NamedExpression {
  path: string;
  sql: string;
  expect?: "boolean";
  /** Whose columns it sees; 0 when left out. */
  input?: number;
}

/** A whole SELECT an author wrote, over the tables `input0`, `input1`, … and nothing else. */
export interface NamedStatement {
  path: string;
  sql: string;
}

/** A column of an input, named by a property. */
export interface NamedColumn {
  path: string;
  input: number;
  column: string;
}

/** In which order the rows of a port come: every column takes part, so the order is total but for equal rows. */
export type Ordering = readonly { column: string; descending: boolean }[];

/** Which rows of a file a scan reads. */
export type ScannedRows = Pick<DatasetScan, "offset" | "limit" | "malformedRows">;

/** What becomes of the inputs. */
export type OperatorBody =
  | { kind: "scan"; reference: string; columns: string[] | undefined; rows: ScannedRows }
  | {
      kind: "query";
      /** A SELECT over input0, input1, … for each output port; called with complete, checked input schemas. */
      sql(inputs: readonly Schema[], orderings: readonly (Ordering | undefined)[]): string | readonly string[];
    }
  /** The schema of each output port. */
  | { kind: "user-function"; userFunction: UserFunction; outputSchemas(inputs: readonly Schema[]): Schema[] };

/** An operator whose settings have been read. */
export interface OperatorInstance {
  /** Number of input ports. */
  inputs: number;
  /** Number of output ports. */
  outputs: number;
  /** True when the first row leaves only after the last one came. */
  blocking: boolean;
  mode: OutputMode;
  body: OperatorBody;
  expressions: NamedExpression[];
  statements: NamedStatement[];
  columns: NamedColumn[];
  /** How rows of an input must be distributed over workers. */
  partition(port: number, input: Schema): PartitionRule;
  /** Input ports that must be finished before the given one. */
  dependsOn(port: number): number[];
  /** What is wrong with these inputs, beyond missing columns. */
  check(inputs: readonly Schema[]): Finding[];
  /** The order of the output's rows, when there is one. */
  ordering(orderings: readonly (Ordering | undefined)[], inputs: readonly Schema[]): Ordering | undefined;
  /** Why two runs over the same input may differ, as a sentence; undefined when they may not. */
  nondeterminism(orderings: readonly (Ordering | undefined)[]): string | undefined;
}

/** The settings with defaults filled in, or what is wrong with them. */
export type ReadSettings = { properties: Properties; instance: OperatorInstance } | { findings: Finding[] };

export interface OperatorDefinition {
  /** Its name in plans. */
  type: string;
  /** One sentence. */
  summary: string;
  /** Where people look for it. */
  group: OperatorGroup;
  /** Number of input ports; a phrase such as "as many as "inputs" says" when settings decide. */
  inputs: number | string;
  /** The same for its output ports. */
  outputs: number | string;
  /** True when it gives exactly one row for each row it reads (row-preserving.ts lists the same types). */
  preservesRows: boolean;
  /** Schema of its settings; becomes JSON Schema for people. */
  settings: z.ZodType;
  /** Documentation prints it, and a test runs it. */
  example: OperatorExample;
  read(properties: Properties): ReadSettings;
}

/** In the order of docs/operators.md. */
export const OPERATOR_GROUPS = ["read", "rows", "columns", "combine", "group", "order", "code", "show"] as const;
export type OperatorGroup = (typeof OPERATOR_GROUPS)[number];

/** Rows of one port, small enough to read. Timestamps are ISO texts in UTC, binary is hex. */
export interface ExampleRows {
  schema: Schema;
  rows: Json[][];
}

/** An operator at work: these settings turn these inputs into these outputs. */
export interface OperatorExample {
  properties: Properties;
  /** One for each input port; of a scan the rows of its file. */
  inputs: ExampleRows[];
  /** One for each output port. Rows count as a set, unless the operator gives an order. */
  outputs: ExampleRows[];
}

type Described = Pick<OperatorInstance, "body"> &
  Partial<OperatorInstance> & {
    /** What is wrong with the settings, whatever the inputs are. */
    findings?: Finding[];
  };

/** Ties a type's settings to what they mean; whatever `describe` leaves out takes the plain default. */
export function defineOperator<Settings extends z.ZodType>(definition: {
  type: string;
  summary: string;
  group: OperatorGroup;
  /** A number; or a phrase, and then `describe` gives the number. */
  inputs: number | string;
  /** The same; one when left out. */
  outputs?: number | string;
  /** False when left out. */
  preservesRows?: boolean;
  settings: Settings;
  example: OperatorExample;
  describe(settings: z.output<Settings>): Described;
}): OperatorDefinition {
  const { type, summary, group, inputs, outputs = 1, preservesRows = false, settings, example, describe } = definition;
  return {
    type,
    summary,
    group,
    inputs,
    outputs,
    preservesRows,
    settings,
    example,
    read(properties) {
      const read = settings.safeParse(properties);
      if (!read.success) return { findings: explainIssues(read.error, properties, settings) };
      const { findings = [], ...described } = describe(read.data);
      if (findings.length > 0) return { findings };
      const blocking = described.blocking ?? false;
      return {
        properties: withoutUndefined(read.data as Json) as Properties,
        instance: {
          inputs: Number(inputs),
          outputs: Number(outputs),
          blocking,
          mode: blocking ? "single-snapshot" : "set-delta",
          expressions: [],
          statements: [],
          columns: [],
          partition: () => ({ kind: "none" }),
          dependsOn: () => [],
          check: () => [],
          ordering: () => undefined,
          nondeterminism: () => undefined,
          ...described,
        },
      };
    },
  };
}

function withoutUndefined(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([key, member]) => [key, withoutUndefined(member)]),
  );
}
