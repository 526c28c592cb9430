// What is in a file: its columns with their types and its number of rows, found out once, when it is registered.
//
// DS1  The schema found makes a whole read succeed: the file is scanned once with exactly the statement a run uses
//      (core/scan-sql.ts) before the schema counts.
// DS2  Types are found from every row, not from a sample: a 1.7 in the last row of integers would else be read as 2.
// DS3  A row is malformed by its form, never by its values: those decide the types. Malformed rows are counted, and a file
//      that has more of them than good ones is refused: it was read the wrong way.
// DS4  DuckDB sees this one file and nothing else: no other path, no network, no extension, no change of settings.
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { AppError, invalid } from "../../core/app-error.js";
import { delimiterOf } from "../../core/file-format.js";
import { foldName } from "../../core/names.js";
import type { FileFormat } from "../../core/plan.js";
import { CSV_DIALECT, encodingOf, NO_HIVE, quoteText, scanSql } from "../../core/scan-sql.js";
import { attributeTypeOf, quoteName } from "../../core/sql-text.js";
import { createGate } from "../../process/gate.js";
import { headOf, uniqueNames } from "./csv-head.js";
import { sniffCsvAround, sniffJsonAround } from "./malformed-files.js";
import { type FileContent, fitTypes, rows, type Sniffed, scan } from "./type-fitting.js";
import { explainUnreadable, unreadable } from "./unreadable-file.js";

/** Reading a file through DuckDB holds one of the process's four worker threads, and signatures need one too. */
const sniffing = createGate(2);

/** Finds out what the file at `path` holds, or refuses it with DATASET_UNREADABLE and the line, where that is known. */
export async function sniffFile(path: string, format: FileFormat, signal: AbortSignal): Promise<FileContent> {
  if (/[*?[\]]/.test(path)) throw invalid("A file whose path holds *, ?, [ or ] cannot be read; rename it.");
  try {
    return await sniffing(() => sniffNow(path, format, signal), signal);
  } catch (error) {
    throw explainUnreadable(error, format.kind, signal);
  }
}

async function sniffNow(path: string, format: FileFormat, signal: AbortSignal): Promise<FileContent> {
  const instance = await DuckDBInstance.create(":memory:", { memory_limit: "1GB", threads: "2" });
  const connection = await instance.connect();
  const interrupt = () => connection.interrupt();
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    signal.throwIfAborted();
    await confine(connection, path);
    return await sniffStrictly(connection, path, format).catch((fault) => {
      if (signal.aborted) throw fault;
      return sniffAround(connection, path, format, fault);
    });
  } finally {
    signal.removeEventListener("abort", interrupt);
    connection.closeSync();
    instance.closeSync();
  }
}

async function confine(connection: DuckDBConnection, path: string): Promise<void> {
  await connection.run(`set TimeZone = 'UTC';
    set allowed_paths = [${quoteText(path)}];
    set autoinstall_known_extensions = false;
    set autoload_known_extensions = false;
    set enable_external_access = false;
    set lock_configuration = true`);
}

/** For a file without malformed rows. */
async function sniffStrictly(connection: DuckDBConnection, path: string, format: FileFormat): Promise<FileContent> {
  return fitTypes(connection, { path, malformedRows: "fail", ...(await sniff(connection, path, format)) });
}

/** For a file with malformed rows, if it is one; else it is refused for what was wrong with it as a whole. */
async function sniffAround(
  connection: DuckDBConnection,
  path: string,
  format: FileFormat,
  fault: unknown,
): Promise<FileContent> {
  if (fault instanceof AppError || format.kind === "parquet") throw fault;
  const sniffed = await (format.kind === "csv"
    ? sniffCsvAround(connection, path, format)
    : sniffJsonAround(connection, path, format)
  ).catch(() => undefined); // what was wrong at first says more
  if (sniffed === undefined || sniffed.schema.length === 0) throw fault;
  const content = await fitTypes(connection, { path, malformedRows: "skip", ...sniffed });
  if (content.malformedRowCount === 0n || content.malformedRowCount > content.rowCount) throw fault;
  return content;
}

async function sniff(connection: DuckDBConnection, path: string, format: FileFormat): Promise<Sniffed> {
  if (format.kind === "csv") return sniffCsv(connection, path, format);
  const source =
    format.kind === "json"
      ? `read_json(${quoteText(path)}, records = 'true', sample_size = -1, maximum_depth = 2, map_inference_threshold = -1, ${NO_HIVE})`
      : `read_parquet(${quoteText(path)}, ${NO_HIVE})`;
  const columns = await rows<{ name: string; type: string }>(
    connection,
    `select column_name as name, column_type as type from (describe select * from ${source})`,
  );
  const schema = columns.map(({ name, type }) => ({ name, type: attributeTypeOf(type) }));
  // These columns are found by their names, so a name cannot be changed to make it unique.
  const clash = schema.find(({ name }, i) => schema.findIndex((c) => foldName(c.name) === foldName(name)) < i);
  if (clash) throw unreadable(`two columns are named ${JSON.stringify(clash.name)}, apart from upper and lower case`);
  if (format.kind === "json") await requireFoundByName(connection, path, { format, schema }, source);
  return { format, schema };
}

async function sniffCsv(connection: DuckDBConnection, path: string, wish: FileFormat): Promise<Sniffed> {
  const { encoding } = wish;
  const head = await headOf(path, encoding);
  if (head.trim() === "") throw unreadable("it is empty");
  const delimiter = wish.delimiter || delimiterOf(head);
  const header = wish.header === undefined ? "" : `, header = ${wish.header}`;
  const statement = (more: string) =>
    `select HasHeader as header, Columns as columns from sniff_csv(${quoteText(path)}, delim = ${quoteText(delimiter)},
       ${CSV_DIALECT}, ${encodingOf(wish)}, sample_size = -1 ${header} ${more})`;
  type Found = { header: boolean; columns: { name: string; type: string }[] };
  // A file with a broken line is sniffed around it; the scan that follows tells the line.
  const [found] = await rows<Found>(connection, statement(""))
    .catch(() => rows<Found>(connection, statement(", ignore_errors = true")))
    .catch(async (error) => {
      const fields = head.split(/\r?\n/, 1)[0]!.split(delimiter);
      const schema = fields.map((_, i) => ({ name: `column${i}`, type: "string" as const }));
      const format = { kind: "csv", delimiter, header: wish.header, encoding } as const;
      await scan(connection, { path, format, schema }, schema);
      throw error;
    });
  return {
    format: { kind: "csv", delimiter, header: found!.header, encoding },
    schema: uniqueNames(found!.columns.map(({ name, type }) => ({ name, type: attributeTypeOf(type) }))),
  };
}

/**
 * DuckDB renames JSON keys it cannot use as they are (one that is empty, or differs from another only in case), and a
 * read by the new name would find nulls: such a file is refused instead.
 */
async function requireFoundByName(
  connection: DuckDBConnection,
  path: string,
  sniffed: Sniffed,
  source: string,
): Promise<void> {
  const renamed = sniffed.schema.filter(({ name }) => /^C\d+$|_\d+$/.test(name));
  if (renamed.length === 0) return;
  const counts = renamed.map(({ name }, i) => `count(${quoteName(name)}) as c${i}`).join(", ");
  const text = sniffed.schema.map(({ name }) => ({ name, type: "any" as const }));
  const byName = scanSql({ path, format: sniffed.format, schema: text });
  const [there] = await rows<Record<string, bigint>>(connection, `select ${counts} from ${source}`);
  const [found] = await rows<Record<string, bigint>>(connection, `select ${counts} from (${byName})`);
  const lost = renamed.find((_, i) => (found![`c${i}`] ?? 0n) < (there![`c${i}`] ?? 0n));
  if (lost)
    throw unreadable(
      `a key is empty or differs from another only in upper and lower case (it would become ${JSON.stringify(lost.name)})`,
    );
}
