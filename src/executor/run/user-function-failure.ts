// The failures of user functions, as sentences with the row they happened at.
import type { FunctionCall, Schema } from "../../core/plan.js";
import { shownValue } from "../user-code/batch-encoder.js";
import type { Request, UserCodeFault } from "../user-code/function-process.js";
import type { WrongValue } from "../user-code/output-chunks.js";
import type { OutputRows } from "../user-code/reply-frame.js";
import { RunFailure } from "./failure.js";
import type { OutputLimits } from "./user-function.js";

/** What a function was doing. */
export interface CallPlace {
  operatorId: string;
  call: FunctionCall;
  /** Number of input ports. */
  ports: number;
  schema: Schema;
  request: Request;
  /** Number of the request's first row within its port, from 1. */
  firstRow: bigint;
}

const LONGEST_ROW = 2_000;

export function wrongValue(error: WrongValue, rows: OutputRows, place: CallPlace, earlierRows: bigint): RunFailure {
  const { operatorId } = place;
  const { origins } = rows;
  const origin = origins && ("first" in origins ? origins.first + error.row : origins.list[error.row]!);
  const at =
    origin === undefined
      ? `in output row ${earlierRows + BigInt(error.row) + 1n}`
      : `at ${rowName(place, place.firstRow + BigInt(origin))}`;
  return new RunFailure(
    "USER_CODE_ERROR",
    `The function of operator ${operatorId} gave column "${error.column}" a wrong value ${at}: ${error.message}.`,
    { operatorId, detail: origin === undefined ? "" : shownRow(place, origin), cause: error },
  );
}

/** `place` has no request when the code could not be loaded. */
export function faultOf(
  { fault }: UserCodeFault,
  place: CallPlace | Pick<CallPlace, "operatorId" | "call">,
): RunFailure {
  const { operatorId } = place;
  const asked = "request" in place ? place : undefined;
  const batch = asked?.request.kind === "rows" ? asked.request.batch : undefined;
  const origin = "row" in fault && batch && fault.row !== undefined && fault.row < batch.rows ? fault.row : undefined;
  const at = origin === undefined ? "" : ` at ${rowName(asked!, asked!.firstRow + BigInt(origin))}`;
  const whose = `The function of operator ${operatorId}`;
  const detail = [
    "trace" in fault ? fault.trace : "",
    origin === undefined ? "" : shownRow(asked!, origin),
    origin === undefined && asked ? rangeOf(asked, fault) : "",
  ].filter(Boolean);
  const failure = (message: string) =>
    new RunFailure("USER_CODE_ERROR", message, { operatorId, detail: detail.join("\n\n") });
  switch (fault.kind) {
    case "exception":
      return failure(`${whose} failed${at}: ${fault.message}`);
    case "timeout":
      return failure(`${whose} took too long${at} and was stopped; look for a loop that does not end.`);
    case "memory":
      return failure(
        `${whose} used more memory than it may${at}; keep less between rows, or return fewer rows at once.`,
      );
    case "processes":
      return failure(`${whose} started more processes than it may, and was stopped; let it do its work by itself.`);
    case "cpu":
      return failure(`${whose} kept more processors busy than it may, and was stopped; let it use one thread.`);
    case "output":
      return failure(`${whose} gave something that is no row${at}: ${fault.message}`);
    case "packages":
      return failure(
        `${whose} is called with whole ${place.call === "batch" ? "batches" : "tables"}, which takes pandas, and this executor's Python has none (${fault.message}); install pandas into a virtual environment, and set POSTERN_PYTHON to its bin/python.`,
      );
    case "died":
      return failure(`${whose} ended without an answer${at}: ${fault.message}`);
  }
}

export function tooMuch({ operatorId }: CallPlace, { rows, bytes }: OutputLimits, isRows: boolean): RunFailure {
  const limit = isRows ? `${rows} rows` : `${bytes / 1024n / 1024n} MB`;
  return new RunFailure(
    "USER_CODE_ERROR",
    `The function of operator ${operatorId} gave more than ${limit}, and was stopped; look for a loop that does not end.`,
    { operatorId },
  );
}

const rowName = ({ ports, request }: CallPlace, row: bigint): string =>
  ports > 1 && request.kind === "rows" ? `row ${row} of input ${request.port}` : `input row ${row}`;

/** The rows a call was given, when no single one is to blame. */
function rangeOf(place: CallPlace, fault: UserCodeFault["fault"]): string {
  const { request, firstRow, ports } = place;
  const of = ports > 1 && request.kind !== "finish" ? ` of input ${request.port}` : "";
  if ("rows" in fault && fault.rows) return `In the call with rows ${fault.rows.from} to ${fault.rows.to}${of}.`;
  if (request.kind !== "rows" || place.call !== "tuple") return "";
  return `In the batch of input rows ${firstRow} to ${firstRow + BigInt(request.batch.rows - 1)}${of}.`;
}

/** The row user code was given, cut to a length people can read. */
function shownRow({ request, schema, firstRow }: CallPlace, row: number): string {
  if (request.kind !== "rows") return "";
  const { columns } = request.batch;
  const values = Object.fromEntries(schema.map(({ name }, c) => [name, shownValue(columns[c]!, row)]));
  const text = JSON.stringify(values);
  return `Row ${firstRow + BigInt(row)}: ${text.length > LONGEST_ROW ? `${text.slice(0, LONGEST_ROW)} …` : text}`;
}
