// What is in a file: its columns with their types and its number of rows, found out once, when it is registered.
//
// DS1  The schema found makes a whole read succeed: the file is scanned once with exactly the statement a run uses
//      (core/scan-sql.ts) before the schema counts.
// DS2  Types are found from every row, not from a sample: a 1.7 in the last row of integers would else be read as 2.
// DS3  DuckDB sees this one file and nothing else: no other path, no network, no extension, no change of settings.
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { AppError, invalid } from "../../core/app-error.js";
import { delimiterOf, isCompressed } from "../../core/file-format.js";
import { foldName } from "../../core/names.js";
import type { Attribute, AttributeType, FileFormat, Schema } from "../../core/plan.js";
import { CSV_DIALECT, NO_HIVE, quoteText, scanSql } from "../../core/scan-sql.js";
import { attributeTypeOf, quoteName } from "../../core/sql-text.js";
import { createGate } from "../../process/gate.js";

/** What a file holds and how it is read; `format` has nothing left open. */
export interface FileContent {
  format: FileFormat;
  schema: Schema;
  rowCount: bigint;
}

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
    const sniffed = await sniff(connection, path, format);
    return await fitTypes(connection, path, sniffed);
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

type Sniffed = Omit<FileContent, "rowCount">;

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
  const head = await headOf(path);
  if (head.trim() === "") throw unreadable("it is empty");
  const delimiter = wish.delimiter || delimiterOf(head);
  const header = wish.header === undefined ? "" : `, header = ${wish.header}`;
  const statement = (more: string) =>
    `select HasHeader as header, Columns as columns from sniff_csv(${quoteText(path)}, delim = ${quoteText(delimiter)},
       ${CSV_DIALECT}, sample_size = -1 ${header} ${more})`;
  type Found = { header: boolean; columns: { name: string; type: string }[] };
  // A file with a broken line is sniffed around it; the scan that follows tells the line.
  const [found] = await rows<Found>(connection, statement(""))
    .catch(() => rows<Found>(connection, statement(", ignore_errors = true")))
    .catch(async (error) => {
      const fields = head.split(/\r?\n/, 1)[0]!.split(delimiter);
      const schema = fields.map((_, i) => ({ name: `column${i}`, type: "string" as const }));
      await scan(connection, path, { kind: "csv", delimiter, header: wish.header }, schema, schema);
      throw error;
    });
  return {
    format: { kind: "csv", delimiter, header: found!.header },
    schema: uniqueNames(found!.columns.map(({ name, type }) => ({ name, type: attributeTypeOf(type) }))),
  };
}

/** The beginning of a text file, without a byte order mark. */
async function headOf(path: string): Promise<string> {
  const file = createReadStream(path, { end: 256 * 1024 });
  // Its errors arrive where the stream is read.
  const stream = isCompressed(path) ? pipeline(file, createGunzip(), () => {}) : file;
  try {
    for await (const chunk of stream) return (chunk as Buffer).toString("utf8").replace(/^\uFEFF/, "");
    return "";
  } finally {
    file.destroy();
  }
}

/** Names that differ at least in more than case; CSV columns are found by position, so any name will do. */
function uniqueNames(columns: Attribute[]): Schema {
  const taken = new Set<string>();
  return columns.map(({ name, type }) => {
    let unique = name;
    for (let n = 1; taken.has(foldName(unique)); n++) unique = `${name}_${n}`;
    taken.add(foldName(unique));
    return { name: unique, type };
  });
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

/** Scans the file with the types found; columns that cannot be read so get a wider type. */
async function fitTypes(connection: DuckDBConnection, path: string, { format, schema }: Sniffed): Promise<FileContent> {
  if (schema.length === 0) throw unreadable("it has no columns");
  const rowCountOf = (columns: Schema) => scan(connection, path, format, columns, columns);
  try {
    return { format, schema, rowCount: await rowCountOf(schema) };
  } catch {
    // A broken file fails whatever the types, and says where.
    await rowCountOf(schema.map(({ name }) => ({ name, type: "string" })));
  }
  const fitted: Schema = [];
  for (const column of schema) fitted.push(await fitColumn(connection, path, format, schema, column));
  return { format, schema: fitted, rowCount: await rowCountOf(fitted) };
}

const WIDER: Partial<Record<AttributeType, AttributeType>> = { integer: "long", long: "double" };

async function fitColumn(
  connection: DuckDBConnection,
  path: string,
  format: FileFormat,
  schema: Schema,
  column: Attribute,
): Promise<Attribute> {
  if (column.type === "string") return column;
  const columns = schema.map((c) => (c.name === column.name ? column : { ...c, type: "string" as const }));
  try {
    await scan(connection, path, format, columns, [column]);
    return column;
  } catch {
    // This type does not fit; the next one is tried, and text always fits.
    const wider = { name: column.name, type: WIDER[column.type] ?? "string" };
    return fitColumn(connection, path, format, schema, wider);
  }
}

/** Reads every value of the columns asked for; returns the number of rows. */
async function scan(
  connection: DuckDBConnection,
  path: string,
  format: FileFormat,
  schema: Schema,
  asked: Schema,
): Promise<bigint> {
  // Hashing keeps DuckDB from leaving out conversions whose outcome nobody needs.
  const values = asked.map(({ name }) => quoteName(name)).join(", ");
  const [result] = await rows<{ rowCount: bigint }>(
    connection,
    `select count(*) as "rowCount", bit_xor(hash(${values})) as seen from (${scanSql({ path, format, schema })})`,
  );
  return result!.rowCount;
}

async function rows<Row>(connection: DuckDBConnection, sql: string): Promise<Row[]> {
  const reader = await connection.runAndReadAll(sql);
  return reader.getRowObjectsJS() as Row[];
}

const unreadable = (why: string, cause?: unknown): AppError =>
  new AppError("invalid", "DATASET_UNREADABLE", `The file cannot be read: ${why}. Correct it and try again.`, {
    cause,
  });

function explainUnreadable(error: unknown, kind: FileFormat["kind"], signal: AbortSignal): unknown {
  if (error instanceof AppError) return error;
  if (signal.aborted)
    return new AppError("cancelled", "UNAVAILABLE", "The call ended before the file was read; nothing was stored.");
  const text = error instanceof Error ? error.message : String(error);
  const line = /^CSV Error on Line: (\d+)$/m.exec(text.replace(/^[\w ]+Error: /, ""))?.[1];
  if (line !== undefined) return unreadable(`line ${line}: ${csvFault(text)}`, error);
  if (/Error when sniffing/.test(text)) return unreadable(csvRules, error);
  if (/^Out of Memory Error/.test(text))
    return unreadable("it needs more memory than the server gives to one file (convert it to Parquet)", error);
  if (/expected records|Expected OBJECT/.test(text))
    return unreadable("it holds JSON that is no object; give one object a line, or one array of objects", error);
  const fault = text
    .split("\n", 1)[0]!
    .replace(/^[\w ]+Error: /, "")
    .replace(/ ?\b(in )?[Ff]ile ['"][^'"]*['"],?/, "")
    .replace(/[.\s]+$/, "")
    .trim();
  return unreadable(`it is no proper ${WORDS[kind]}: ${fault}`, error);
}

const WORDS = { csv: "CSV", json: "JSON", parquet: "Parquet" } as const;

/** DuckDB tells the line, the line's text, and then what is wrong with it. */
function csvFault(text: string): string {
  const told = [
    [/Expected Number of Columns: (\d+) Found: (\d+)/, "it has $2 fields where $1 are expected"],
    [/unterminated quote/, "a quote is not closed"],
    [/not utf-8/, "it is not UTF-8"],
    [/Could not convert string "?(.*?)"? to/, "a value does not fit its column's type"],
    [/Maximum line size/, "it is too long"],
  ] as const;
  for (const [pattern, sentence] of told) {
    const match = pattern.exec(text);
    if (match) return sentence.replace("$1", match[1] ?? "").replace("$2", match[2] ?? "");
  }
  return csvRules;
}

const csvRules = "it does not follow the rules of CSV (RFC 4180)";
