// The columns of a text file with malformed rows, which DuckDB's own sniffer gives up on: found from the rows that are well
// formed, by what all values of a column can be.
import type { DuckDBConnection } from "@duckdb/node-api";
import { delimiterOf } from "../../core/file-format.js";
import { foldName } from "../../core/names.js";
import type { AttributeType, FileFormat, Schema } from "../../core/plan.js";
import { jsonRows, quoteText, scanSql } from "../../core/scan-sql.js";
import { attributeTypeOf, quoteName } from "../../core/sql-text.js";
import { headOf, uniqueNames } from "./csv-head.js";
import { rows, type Sniffed } from "./type-fitting.js";
import { unreadable } from "./unreadable-file.js";

const NUMBER = "-?(0|[1-9]\\d*)";
const INSTANT = "\\d{4}-\\d\\d-\\d\\d([ T].*)?";
/** What a text must look like, and be converted to, for its column to have the type; the first that fits counts. */
const TYPES: [type: AttributeType, pattern: string, conversion: string][] = [
  ["long", NUMBER, "bigint"],
  ["double", `${NUMBER}(\\.\\d*)?([eE][+-]?\\d+)?`, "double"],
  ["boolean", "(?i)true|false", "boolean"],
  ["timestamp", INSTANT, "timestamptz"],
];

/** The columns of a CSV file by its well-formed lines. The first line names them, unless the wish says otherwise. */
export async function sniffCsvAround(connection: DuckDBConnection, path: string, wish: FileFormat): Promise<Sniffed> {
  const head = await headOf(path, wish.encoding);
  const delimiter = wish.delimiter || delimiterOf(head);
  const first = fieldsOf(head, delimiter);
  const header = wish.header ?? first.every((field) => field !== "" && !/^[-+]?\.?\d/.test(field));
  const format = { ...wish, delimiter, header };
  const named = first.map((name, i) => ({
    name: header && name !== "" ? name : `column${i}`,
    type: "string" as const,
  }));
  const schema = uniqueNames(named);
  const texts = scanSql({ path, format, schema, malformedRows: "skip" });
  const checks = schema.flatMap(({ name }, i) =>
    TYPES.map((type, t) => `${fits(quoteName(name), type)} as c${i}_${t}`),
  );
  const [found] = await rows<Record<string, boolean | null>>(connection, `select ${checks.join(", ")} from (${texts})`);
  return {
    format,
    schema: schema.map(({ name }, i) => ({ name, type: TYPES.find((_, t) => found![`c${i}_${t}`])?.[0] ?? "string" })),
  };
}

const fits = (column: string, [, pattern, conversion]: (typeof TYPES)[number]): string =>
  `bool_and(regexp_full_match(${column}, ${quoteText(pattern)}) and try_cast(${column} as ${conversion}) is not null)`;

/** The fields of the first line. */
function fieldsOf(text: string, delimiter: string): string[] {
  const fields = [""];
  let quoted = false;
  for (const character of text) {
    if (character === '"') quoted = !quoted;
    else if (!quoted && (character === "\n" || character === "\r")) break;
    else if (!quoted && character === delimiter) fields.push("");
    else fields[fields.length - 1] += character;
  }
  return fields;
}

/** The columns of the objects in a JSON file, whatever stands between them. */
export async function sniffJsonAround(
  connection: DuckDBConnection,
  path: string,
  format: FileFormat,
): Promise<Sniffed> {
  const objects = `select json from ${jsonRows(path)} where json_type(json) = 'OBJECT'`;
  const [found] = await rows<{ structure: string | null }>(
    connection,
    `select cast(json_group_structure(json) as varchar) as structure from (${objects})`,
  );
  const structure: Record<string, unknown> = JSON.parse(found?.structure ?? "{}");
  const schema: Schema = [];
  for (const [name, type] of Object.entries(structure)) {
    const clash = schema.find((column) => foldName(column.name) === foldName(name));
    if (clash || name === "") throw unreadable("a key is empty or differs from another only in upper and lower case");
    const found = typeof type !== "string" || type === "NULL" ? "any" : attributeTypeOf(type);
    schema.push({
      name,
      type: found === "string" && (await holdsInstants(connection, objects, name)) ? "timestamp" : found,
    });
  }
  return { format, schema };
}

/** True when every text under the key is an ISO instant or date, and there is one. */
async function holdsInstants(connection: DuckDBConnection, objects: string, key: string): Promise<boolean> {
  const text = `json_extract_string(json, ${quoteText(`$.${JSON.stringify(key)}`)})`;
  const [found] = await rows<{ instants: boolean | null }>(
    connection,
    `select bool_and(regexp_full_match(text, ${quoteText(INSTANT)}) and try_cast(text as timestamptz) is not null) as instants
     from (select ${text} as text from (${objects})) where text is not null`,
  );
  return found?.instants === true;
}
