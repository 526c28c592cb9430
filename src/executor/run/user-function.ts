// Runs one user function over the rows of a query, into a table: chunks stream out of DuckDB, through the child, and
// back through an appender, so that a few thousand rows at most are in this process at a time.

import { join } from "node:path";
import {
  BIGINT,
  BLOB,
  BOOLEAN,
  DOUBLE,
  DuckDBDataChunk,
  type DuckDBType,
  INTEGER,
  TIMESTAMP,
  VARCHAR,
} from "@duckdb/node-api";
import type { AttributeType, Schema } from "../../core/plan.js";
import { type InputBatch, startChild, type UserCodeChild, UserCodeFault } from "../user-code/child.js";
import type { UserCodeHost } from "../user-code/host.js";
import type { OutputRows } from "../user-code/reply.js";
import { ConversionError, decodeCell, encodeColumn } from "../user-code/values.js";
import type { Engine } from "./duckdb.js";
import { queryFailure, RunFailure, RunStopped } from "./failure.js";
import type { Step } from "./fused-query.js";
import { outputOf } from "./fused-query.js";
import { createTable } from "./sql-text.js";

export interface UserFunctionDeps {
  engine: Engine;
  host: UserCodeHost;
  /** For the child's own directory. */
  workDirectory: string;
  /** Nothing new is begun, and the query is interrupted. */
  stop: AbortSignal;
  /** The function's process is killed. */
  kill: AbortSignal;
  /** Waits between batches while the run is paused; rejects with RunStopped when it is stopped. */
  rest(): Promise<void>;
  onLine(stream: "output" | "error", line: string): void;
  onRows(counts: { inputRows: bigint; outputRows: bigint }): void;
}

/** Rows of one appended chunk: DuckDB's own vector size. */
const CHUNK_ROWS = 2_048;

const TYPES: Record<AttributeType, DuckDBType> = {
  string: VARCHAR,
  integer: INTEGER,
  long: BIGINT,
  double: DOUBLE,
  boolean: BOOLEAN,
  timestamp: TIMESTAMP,
  binary: BLOB,
  any: VARCHAR,
};

/** Fills the step's table; resolves with the numbers of rows read and written. */
export async function runUserFunction(
  deps: UserFunctionDeps,
  step: Extract<Step, { kind: "call" }>,
): Promise<{ inputRows: bigint; outputRows: bigint }> {
  const { engine, host, stop, kill } = deps;
  const { operatorId } = step.operator;
  const command = host.commandFor(step.userFunction.language, operatorId);
  const output = outputOf(step.operator).schema;
  const reading = engine.take();
  const writing = engine.take();
  let child: UserCodeChild | undefined;
  try {
    await writing.run(createTable(step.table, output), { signal: stop });
    child = await startChild(
      { sandbox: host.sandbox, signal: kill },
      {
        command,
        userFunction: step.userFunction,
        input: inputSchema(step),
        output,
        batchMs: host.batchMs,
        memoryBytes: host.memoryBytes,
        directory: join(deps.workDirectory, `user-code-${operatorId}`),
        onLine: deps.onLine,
      },
    );
    const counts = await callWithEveryChunk(deps, step, { child, reading, writing, output });
    await child.close();
    return counts;
  } catch (error) {
    if (stop.aborted) throw new RunStopped();
    if (error instanceof UserCodeFault) throw faultOf(error, step, undefined);
    throw queryFailure(error, { operatorIds: [operatorId] });
  } finally {
    await child?.kill();
    reading.release();
    writing.release();
  }
}

const inputSchema = (step: Step): Schema => step.operator.inputs[0]?.schema ?? [];

async function callWithEveryChunk(
  deps: UserFunctionDeps,
  step: Extract<Step, { kind: "call" }>,
  {
    child,
    reading,
    writing,
    output,
  }: { child: UserCodeChild; reading: ReturnType<Engine["take"]>; writing: ReturnType<Engine["take"]>; output: Schema },
): Promise<{ inputRows: bigint; outputRows: bigint }> {
  const schema = inputSchema(step);
  const appender = await writing.appender(step.table);
  const counts = { inputRows: 0n, outputRows: 0n };
  try {
    for await (const chunk of reading.stream(step.sql, deps.stop)) {
      await deps.rest();
      const batch: InputBatch = {
        rows: chunk.rowCount,
        columns: schema.map(({ type }, i) => encodeColumn(type, chunk.getColumnValues(i))),
      };
      const context = { step, batch, schema, firstRow: counts.inputRows + 1n };
      try {
        for await (const rows of child.call(batch)) {
          for (const part of chunksOf(rows, output, context)) appender.appendDataChunk(part);
          counts.outputRows += BigInt(rows.rows);
        }
      } catch (error) {
        throw error instanceof UserCodeFault ? faultOf(error, step, context) : error;
      }
      counts.inputRows += BigInt(batch.rows);
      deps.onRows(counts);
    }
    appender.flushSync();
  } finally {
    appender.closeSync();
  }
  return counts;
}

/** Where a batch lies within the input, for naming rows to people. */
interface BatchContext {
  step: Extract<Step, { kind: "call" }>;
  batch: InputBatch;
  schema: Schema;
  /** Number of its first row, from 1. */
  firstRow: bigint;
}

function* chunksOf(rows: OutputRows, output: Schema, context: BatchContext): Generator<DuckDBDataChunk> {
  for (let from = 0; from < rows.rows; from += CHUNK_ROWS) {
    const to = Math.min(from + CHUNK_ROWS, rows.rows);
    const chunk = DuckDBDataChunk.create(
      output.map(({ type }) => TYPES[type]),
      to - from,
    );
    output.forEach(({ name, type }, c) => {
      const column = rows.columns[c]!;
      const values = Array.from({ length: to - from }, (_, i) => {
        try {
          return decodeCell(type, column[from + i]!);
        } catch (error) {
          if (!(error instanceof ConversionError)) throw error;
          throw wrongValue(error, name, rows.origins[from + i]!, context);
        }
      });
      chunk.setColumnValues(c, values);
    });
    yield chunk;
  }
}

function wrongValue(error: ConversionError, column: string, origin: number, context: BatchContext): RunFailure {
  const { operatorId } = context.step.operator;
  const row = context.firstRow + BigInt(origin);
  return new RunFailure(
    "USER_CODE_ERROR",
    `The function of operator ${operatorId} gave column "${column}" a wrong value at input row ${row}: ${error.message}.`,
    { operatorId, detail: shownRow(context, origin), cause: error },
  );
}

function faultOf(
  { fault }: UserCodeFault,
  step: Extract<Step, { kind: "call" }>,
  context: BatchContext | undefined,
): RunFailure {
  const { operatorId } = step.operator;
  const origin = "row" in fault ? fault.row : undefined;
  const known = context !== undefined && origin !== undefined && origin < context.batch.rows;
  const at = known ? ` at input row ${context.firstRow + BigInt(origin)}` : "";
  const whose = `The function of operator ${operatorId}`;
  const detail = [
    "trace" in fault ? fault.trace : "",
    known ? shownRow(context, origin) : "",
    context && !known
      ? `In the batch of input rows ${context.firstRow} to ${context.firstRow + BigInt(context.batch.rows - 1)}.`
      : "",
  ].filter(Boolean);
  const more = { operatorId, detail: detail.join("\n\n") };
  switch (fault.kind) {
    case "exception":
      return new RunFailure("USER_CODE_ERROR", `${whose} failed${at}: ${fault.message}`, more);
    case "timeout":
      return new RunFailure(
        "USER_CODE_ERROR",
        `${whose} took too long${at} and was stopped; look for a loop that does not end.`,
        more,
      );
    case "memory":
      return new RunFailure(
        "USER_CODE_ERROR",
        `${whose} used more memory than it may${at}; keep less between rows, or return fewer rows at once.`,
        more,
      );
    case "output":
      return new RunFailure("USER_CODE_ERROR", `${whose} gave something that is no row${at}: ${fault.message}`, more);
    case "died":
      return new RunFailure("USER_CODE_ERROR", `${whose} ended without an answer${at}: ${fault.message}`, more);
  }
}

/** The row user code was given, cut to a length people can read. */
function shownRow({ batch, schema, firstRow }: BatchContext, row: number): string {
  const values = Object.fromEntries(schema.map(({ name }, c) => [name, batch.columns[c]![row]]));
  const text = JSON.stringify(values);
  return `Row ${firstRow + BigInt(row)}: ${text.length > 2_000 ? `${text.slice(0, 2_000)} …` : text}`;
}
