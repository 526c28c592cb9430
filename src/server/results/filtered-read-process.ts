// What runs in the process of a filtered read: answers one request and is killed.
import { DuckDBInstance } from "@duckdb/node-api";
import { quoteText } from "../../core/scan-sql.js";
import { quoteName } from "../../core/sql-text.js";
import { explainComplaint } from "../binding/duckdb-complaint.js";
import { type FilteredAnswer, type FilteredRead, NEEDS_MEMORY } from "./filtered-read.js";
import { rowsOf, selectFrom } from "./result-cells.js";

process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});

process.on("message", (read: FilteredRead) => {
  answerTo(read)
    .catch((error: unknown): FilteredAnswer => ({ kind: "failed", message: String(error) }))
    .then((answer) => process.send!(answer));
});

async function answerTo({
  directory,
  path,
  schema,
  columns,
  where,
  offset,
  limit,
}: FilteredRead): Promise<FilteredAnswer> {
  const instance = await DuckDBInstance.create(":memory:", {
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    threads: "1",
    memory_limit: "512MB",
  });
  const connection = await instance.connect();
  for (const setting of [
    "TimeZone = 'UTC'",
    `allowed_directories = [${quoteText(directory)}]`,
    "enable_external_access = false",
    "lock_configuration = true",
  ])
    await connection.run(`set ${setting}`);
  const list = columns.map(({ name }) => quoteName(name)).join(", ");
  // The names an expression may use: the columns, and input0 as their table. A comment at its end swallows nothing.
  const filtered = `from (${selectFrom(path, schema)}) as input0 where (${where}\n)`;
  // A file that cannot be read at all is no fault of the expression.
  await connection.run(`${selectFrom(path, schema)} limit 1`);
  try {
    const [[total] = []] = await (await connection.run(`select count(*) ${filtered}`)).getRows();
    const page = `select ${list} ${filtered} limit ${limit} offset ${offset}`;
    return { kind: "rows", rows: await rowsOf(connection, page, columns), totalRows: total as bigint };
  } catch (error) {
    const message = (error as Error).message;
    // What the values are not fit for, such as a text that is no number.
    if (/^(Conversion|Invalid Input|Out of Range) Error/.test(message))
      return { kind: "refused", complaint: explainComplaint(message) };
    if (/^Out of Memory Error/.test(message)) return { kind: "refused", complaint: NEEDS_MEMORY };
    throw error;
  }
}
