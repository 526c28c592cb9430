import { z } from "zod";
import { ATTRIBUTE_TYPES, type Attribute, type AttributeType, type Schema } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { duckdbType, quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, MOST_COLUMNS, NUL, repeatedNames, withoutNul } from "./settings.js";
import { type JsonRow, linesOf, readCsv, readJsonLines, type TextRow } from "./text-rows.js";
import { CAN_BE, LOOKS_LIKE, typeOfJson, typeOfTexts } from "./text-types.js";

const textSettings = z.strictObject({
  text: z
    .string()
    .refine(
      (text) => text.length <= 250_000,
      "The text is longer than 250,000 characters; store it as a dataset, and read that with a scan.",
    )
    .refine(withoutNul, NUL)
    .describe("The rows."),
  format: z
    .enum(["csv", "json", "lines"])
    .default("csv")
    .describe("csv: after RFC 4180; json: one object a line; lines: each line is a row of one text column."),
  columns: z
    .array(
      z.strictObject({
        name: columnName,
        type: z.enum(ATTRIBUTE_TYPES).default("string").describe("What its texts become; bytes are written in hex."),
      }),
    )
    .max(MOST_COLUMNS)
    .optional()
    .describe(
      "The columns: of csv in the order of the fields, of json the members that are read, of lines the name of the only one. When left out, names and types are found from the text.",
    ),
  delimiter: z
    .string()
    .refine((text) => [...text].length === 1 && !'"\n\r'.includes(text), "A delimiter is one character and no quote.")
    .default(",")
    .describe("Of csv: what stands between fields."),
  header: z.boolean().default(true).describe("Of csv: whether the first line names the columns."),
});
type TextSettings = z.output<typeof textSettings>;

/** Rows that are part of the workflow. */
export const textSource = defineOperator({
  type: "text-source",
  summary: "Gives rows that are written in the workflow itself, as CSV, JSON lines or plain lines.",
  group: "read",
  inputs: 0,
  settings: textSettings,
  example: {
    properties: { text: "iata,runways,opened\nSEA,3,1947-07-09\nSFO,4,\n" },
    inputs: [],
    outputs: [
      exampleRows(
        { iata: "string", runways: "long", opened: "timestamp" },
        ["SEA", 3, "1947-07-09T00:00:00Z"],
        ["SFO", 4, null],
      ),
    ],
  },
  describe(settings) {
    const read = readText(settings);
    if ("findings" in read) return { findings: read.findings, body: { kind: "query", sql: () => "" } };
    return { body: { kind: "query", sql: () => read.sql } };
  },
});

type Read = { sql: string } | { findings: Finding[] };
const wrong = (property: string, message: string): Read => ({ findings: [{ property, message }] });

/** The rows as SQL. A byte order mark, as editors put one, is no part of the text. */
function readText({ text, ...others }: TextSettings): Read {
  const settings = { ...others, text: text.replace(/^\uFEFF/, "") };
  const repeated = repeatedNames(settings.columns?.map(({ name }) => name) ?? [], (i) => `columns.${i}.name`);
  if (repeated.length > 0) return { findings: repeated };
  if (settings.format === "json") return readObjects(settings);
  const rows =
    settings.format === "lines"
      ? linesOf(settings.text).map((text, i) => ({ line: i + 1, fields: [text] }))
      : readCsv(settings.text, settings.delimiter);
  return "problem" in rows ? wrong("text", rows.problem) : readFields(settings, rows);
}

function readFields({ format, header, columns }: TextSettings, rows: readonly TextRow[]): Read {
  const isCsv = format === "csv";
  const names = isCsv && header ? rows[0] : undefined;
  const data = names ? rows.slice(1) : rows;
  const width = columns?.length ?? rows[0]?.fields.length ?? 0;
  if (width === 0 && isCsv) return wrong("text", 'The text is empty, so it tells no columns; list them in "columns".');
  if (!isCsv && columns && columns.length !== 1)
    return wrong("columns", 'Lines make one column; give one entry in "columns", or none.');
  const odd = rows.find(({ fields }) => isCsv && fields.length !== width);
  if (odd)
    return wrong("text", `Line ${odd.line} has ${odd.fields.length} fields where ${width} are expected; correct it.`);
  const found = columns ?? (isCsv ? foundColumns(names, data, width) : [{ name: "line", type: "string" as const }]);
  const findings = wrongNames(found);
  if (findings.length > 0) return { findings };
  for (const { line, fields } of data)
    for (const [i, { name, type }] of found.entries()) {
      const text = fields[i];
      if (typeof text === "string" && !CAN_BE[type](text)) return wrong("text", misfit(line, name, type, text));
    }
  const values = JSON.stringify(data.map(({ fields }) => fields));
  const items = found.map(({ name, type }, i) => `${converted(`fields[${i + 1}]`, type)} AS ${quoteName(name)}`);
  return {
    sql: `SELECT ${items.join(", ")} FROM (SELECT unnest(from_json(${quoteText(values)}, '[["VARCHAR"]]')) AS fields)`,
  };
}

function foundColumns(names: TextRow | undefined, data: readonly TextRow[], width: number): Schema {
  return Array.from({ length: width }, (_, i) => ({
    name: names?.fields[i] ?? `column${i}`,
    type: typeOfTexts(data.flatMap(({ fields }) => fields[i] ?? [])),
  }));
}

/** What keeps the names found in a text from being those of columns. */
function wrongNames(found: Schema): Finding[] {
  if (found.length > MOST_COLUMNS)
    return [
      {
        property: "text",
        message: `The text has ${found.length} columns where ${MOST_COLUMNS} are the most; list those you need in "columns", or store it as a dataset.`,
      },
    ];
  const unfit = found.find(({ name }) => !columnName.safeParse(name).success);
  if (unfit) {
    const shown = JSON.stringify(unfit.name.slice(0, 40));
    return [{ property: "text", message: `${shown} cannot name a column: it is empty or too long; rename it.` }];
  }
  return repeatedNames(
    found.map(({ name }) => name),
    () => "text",
  );
}

const misfit = (line: number, name: string, type: AttributeType, value: string): string =>
  `Line ${line}: ${JSON.stringify(value.slice(0, 100))} in ${JSON.stringify(name)} is not ${LOOKS_LIKE[type]}; correct it, or choose another type in "columns".`;

function readObjects({ text, columns }: TextSettings): Read {
  const rows = readJsonLines(text);
  if ("problem" in rows) return wrong("text", rows.problem);
  const found = columns ?? foundMembers(rows);
  if (found.length === 0)
    return wrong("text", 'The text holds no member, so it tells no columns; list them in "columns".');
  const findings = wrongNames(found);
  if (findings.length > 0) return { findings };
  for (const { line, text: one, members } of rows)
    for (const { name, type } of found) {
      const value = Object.hasOwn(members, name) ? exactly(members[name], one) : null;
      if (value === null || type === "any" || type === "string") continue;
      const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
      if (!CAN_BE[type](shown)) return wrong("text", misfit(line, name, type, shown));
    }
  const structure = Object.fromEntries(found.map(({ name, type }) => [name, type === "any" ? "JSON" : "VARCHAR"]));
  const values = `[${rows.map((row) => row.text).join(",")}]`;
  const items = found.map(({ name, type }) => {
    const member = `object.${quoteName(name)}`;
    return `${type === "any" ? member : converted(member, type)} AS ${quoteName(name)}`;
  });
  return {
    sql: `SELECT ${items.join(", ")} FROM (SELECT unnest(from_json(${quoteText(values)}, ${quoteText(JSON.stringify([structure]))})) AS object)`,
  };
}

/** Every member of any object, in the order they come first. */
function foundMembers(rows: readonly JsonRow[]): Attribute[] {
  const values = new Map<string, { name: string; values: unknown[] }>();
  for (const { members, text } of rows)
    for (const [name, value] of Object.entries(members)) {
      const known = values.get(name) ?? { name, values: [] };
      if (value !== null) known.values.push(exactly(value, text));
      values.set(name, known);
    }
  return [...values.values()].map(({ name, values }) => ({ name, type: typeOfJson(values) }));
}

/** A whole number beyond 2^53 as it stands in its line: JSON.parse has rounded it. */
function exactly(value: unknown, text: string): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  const written = text.match(/-?\b\d+\b(?![.eE])/g)?.find((digits) => Number(digits) === value && CAN_BE.long(digits));
  return written === undefined ? value : BigInt(written);
}

/** A text as a value of the type. */
function converted(text: string, type: AttributeType): string {
  switch (type) {
    case "string":
      return text;
    case "timestamp":
      // DuckDB wants seconds before an offset, and capital letters.
      return `timezone('UTC', CAST(regexp_replace(upper(${text}), '^(.{10}.\\d\\d:\\d\\d)([Z+-].*)$', '\\1:00\\2') AS TIMESTAMPTZ))`;
    case "binary":
      return `from_hex(${text})`;
    case "any":
      return `CAST(${text} AS JSON)`;
    default:
      return `CAST(${text} AS ${duckdbType(type)})`;
  }
}
