// How many rows each output port is expected to give by the time its operator is done: an estimate for people who watch,
// and for nothing else. Pure. From what is known best to what is known least:
//
// 1. what was counted, and what follows from that (row-counts.ts);
// 2. what an operator's settings decide, of the rows it is expected to read (SETTLED);
// 3. how many rows it gave in earlier runs for each it read;
// 4. a figure by its kind (GUESSED).
//
// A whole number from 0 to MOST_ROWS, always.
import { groupBy } from "./group-by.js";
import { ROW_PRESERVING_TYPES } from "./operators/row-preserving.js";
import { globalPortId, type Json, operatorKey, type PhysicalOperator, type PhysicalPlan } from "./plan.js";
import { inferRowsOfPorts, type RowCounts, rowsInReach } from "./row-counts.js";

/** What is expected never exceeds it: the largest whole number that a double tells from its neighbours. */
export const MOST_ROWS = Number.MAX_SAFE_INTEGER;

export interface ExpectedRowsFacts {
  /** Rows of output ports as far as they were counted, by global port id. */
  known: ReadonlyMap<string, bigint>;
  /** Rows of operators in earlier runs, by operator key. */
  usual: ReadonlyMap<string, RowCounts>;
}

/** Rows of every output port, by global port id. Operators come each after what it reads. */
export function expectedRows(plan: PhysicalPlan, { known, usual }: ExpectedRowsFacts): Map<string, number> {
  const counted = inferRowsOfPorts(plan, known);
  const incoming = groupBy(plan.links, ({ to }) => operatorKey(to));
  const expected = new Map<string, number>();
  for (const operator of plan.operators) {
    const links = incoming.get(operatorKey(operator)) ?? [];
    const inputs = operator.inputs.map(({ key }) =>
      total(links.flatMap(({ from, to }) => (to.portId === key.portId ? [expected.get(globalPortId(from)) ?? 0] : []))),
    );
    const rows = rowsOf(operator, inputs, usual.get(operatorKey(operator)));
    for (const [n, { key }] of operator.outputs.entries()) {
      const id = globalPortId(key);
      expected.set(id, whole(Number(counted.get(id) ?? rows[n] ?? 0)));
    }
  }
  return expected;
}

/** An operator and the rows each of its input ports is expected to get. */
interface Reading {
  operator: PhysicalOperator;
  inputs: readonly number[];
}

/** By output port. */
function rowsOf(operator: PhysicalOperator, inputs: readonly number[], usual: RowCounts | undefined): number[] {
  const reading = { operator, inputs };
  const settled = ruleOf(SETTLED, operator)?.(reading);
  if (settled !== undefined) return each(settled, operator);
  const guessed = each((ruleOf(GUESSED, operator) ?? larger)(reading), operator);
  const before = rowsAsBefore(total(inputs), operator, usual);
  if (before === undefined) return guessed;
  const sum = total(guessed);
  return guessed.map((rows) => before * (sum > 0 ? rows / sum : 1 / guessed.length));
}

/** What the operator would give of so many rows if it did as it usually does; undefined when that is not known. */
function rowsAsBefore(inputRows: number, { inputs }: PhysicalOperator, usual: RowCounts | undefined) {
  if (usual?.outputRows === undefined) return undefined;
  const gave = Number(usual.outputRows);
  // Where only what it gave was counted, that is better than nothing.
  if (inputs.length === 0 || usual.inputRows === undefined) return gave;
  return usual.inputRows > 0n ? inputRows * (gave / Number(usual.inputRows)) : undefined;
}

/** A figure for all output ports alike, or one for each; undefined when it cannot tell. */
type Rule = (reading: Reading) => number | number[] | undefined;

/** Rows that settings and inputs decide, or nearly so. */
const SETTLED: Readonly<Record<string, Rule>> = {
  /** Registration has counted them; those left out for not fitting are few. */
  scan: ({ operator: { implementation } }) =>
    implementation.kind === "scan" && implementation.scan.rowCount > 0n
      ? Number(rowsInReach(implementation.scan))
      : undefined,
  /** They stand there, a line each. */
  "text-source": linesOfText,
  /** Every row of every input. */
  union: everyRow,
  /** Each row of one with each of the other. */
  "cartesian-product": ({ inputs }) => inputs.reduce((product, rows) => Math.min(product * rows, MOST_ROWS), 1),
  /** As many as it says, of those that are left. */
  limit: ({ operator, inputs }) =>
    Math.min(setting(operator, "count") ?? MOST_ROWS, total(inputs) - (setting(operator, "offset") ?? 0)),
  "top-k": (reading) => (isGrouped(reading) ? undefined : atMost(reading, "count")),
  /** One for everything; how many groups there are nothing tells. */
  aggregate: (reading) => (isGrouped(reading) ? undefined : 1),
  pivot: (reading) => (isGrouped(reading) ? undefined : 1),
  /** A number of rows, or a share of them. */
  sample: (reading) => atMost(reading, "count") ?? share(reading, "fraction"),
  /** By lot: the share that is set, and the rest. What a predicate takes is not known. */
  split: (reading) => {
    const first = share(reading, "ratio");
    return first === undefined ? undefined : [first, total(reading.inputs) - first];
  },
  /** Members of an object and pieces of a text become columns; as rows they are more. */
  unnest: (reading) => (isIntoColumns(reading) ? everyRow(reading) : undefined),
  "regex-split": (reading) => (isIntoColumns(reading) ? everyRow(reading) : undefined),
  /** One picture. */
  chart: () => 1,
};

/** Rows by nothing but the kind of an operator: a first figure, until a run has been. */
const GUESSED: Readonly<Record<string, Rule>> = {
  /** Its size is all that is known: a row of CSV, JSON or Parquet is rarely shorter than 10 or longer than 500 bytes. */
  scan: ({ operator: { implementation } }) =>
    implementation.kind === "scan" ? Number(implementation.scan.byteCount) / 50 : 0,
  /** What planners of databases assume of a predicate of which they know nothing. */
  filter: (reading) => everyRow(reading) / 3,
  split: (reading) => [everyRow(reading) / 3, (everyRow(reading) * 2) / 3],
  /** Groups are made to be fewer than rows. */
  aggregate: (reading) => everyRow(reading) / 10,
  pivot: (reading) => everyRow(reading) / 10,
  distinct: (reading) => everyRow(reading) / 10,
  /** Of each of so many groups the count, where there are as many. */
  "top-k": (reading) => {
    const rows = everyRow(reading);
    return Math.min(rows, (rows / 10) * (setting(reading.operator, "count") ?? 0));
  },
  /** Most joins look up what belongs to each row of the larger side; those that only keep or drop rows are filters. */
  join: (reading) =>
    reading.operator.properties.type === "semi" || reading.operator.properties.type === "anti"
      ? (reading.inputs[0] ?? 0) / 3
      : larger(reading),
  "interval-join": larger,
  /** What is in both is no more than either. */
  intersect: ({ inputs }) => Math.min(...inputs, MOST_ROWS),
  difference: ({ inputs }) => inputs[0] ?? 0,
  "symmetric-difference": everyRow,
  /** A list that is worth rows of its own has a few elements. */
  unnest: (reading) => everyRow(reading) * 3,
  "regex-split": (reading) => everyRow(reading) * 3,
  /** A row for each column. */
  unpivot: (reading) => {
    const { columns } = reading.operator.properties;
    return everyRow(reading) * (Array.isArray(columns) ? columns.length : 1);
  },
};

const ruleOf = (rules: Readonly<Record<string, Rule>>, { type }: PhysicalOperator): Rule | undefined =>
  ROW_PRESERVING_TYPES.has(type) ? everyRow : Object.hasOwn(rules, type) ? rules[type] : undefined;

function everyRow({ inputs }: Reading): number {
  return total(inputs);
}

/** Of SQL and functions too: about what they get. What is made from nothing is made by hand, so it is little. */
function larger({ inputs }: Reading): number {
  return inputs.length === 0 ? 1_000 : Math.max(...inputs);
}

function linesOfText({ operator: { properties } }: Reading): number {
  const { text, format = "csv", header = true } = properties;
  const lines = typeof text === "string" ? text.split(/\r\n|\r|\n/).filter((line) => line !== "").length : 0;
  return format === "csv" && header !== false ? lines - 1 : lines;
}

const isGrouped = ({ operator: { properties } }: Reading): boolean =>
  Array.isArray(properties.groupBy) && properties.groupBy.length > 0;

const isIntoColumns = ({ operator: { properties } }: Reading): boolean => properties.into === "columns";

function atMost({ operator, inputs }: Reading, name: string): number | undefined {
  const count = setting(operator, name);
  return count === undefined ? undefined : Math.min(count, total(inputs));
}

function share({ operator, inputs }: Reading, name: string): number | undefined {
  const fraction = setting(operator, name);
  return fraction === undefined ? undefined : total(inputs) * Math.min(1, Math.max(0, fraction));
}

/** A setting that is a number; operators of a plan were checked, so it is missing at most. */
function setting({ properties }: PhysicalOperator, name: string): number | undefined {
  const value: Json | undefined = properties[name];
  return typeof value === "number" ? value : undefined;
}

const each = (rows: number | number[] | undefined, { outputs }: PhysicalOperator): number[] =>
  Array.isArray(rows) ? rows : outputs.map(() => rows ?? 0);

const total = (rows: readonly number[]): number =>
  Math.min(
    MOST_ROWS,
    rows.reduce((sum, one) => sum + one, 0),
  );

const whole = (rows: number): number => (rows > 0 ? Math.min(Math.round(rows), MOST_ROWS) : 0);
