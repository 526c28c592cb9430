// Files and texts that are read. How a file is read is a matter of its dataset here, told when it is registered.
import { quoteName } from "../sql-text.js";
import { literal } from "./import-conditions.js";
import {
  becomes,
  type Fragment,
  type ImportChoices,
  type ImportedOperator,
  type ImportRule,
  type Refusal,
  refused,
  settings,
} from "./import-rule.js";

/** What a scan expects of the file behind its dataset. */
interface FileDetails {
  delimiter?: string;
  header?: boolean;
  encoding: string;
}

const ASSUMED = "No dataset was given for its file; the name is made of the file's.";
const SKIPS = "Rows that do not fit the columns are left out and counted; Texera leaves them out without a word.";
const NO_HEADER =
  "Without a header Texera names columns column-1, column-2, …; here they are named when the file is registered.";
const FLATTEN = "Texera made columns such as a.b of nested objects; here a nested object is one column.";
const TYPES_OF_FILE = "Column types are those of the registered dataset; Texera guesses them from the first rows.";

function scanOf(operator: ImportedOperator, choices: ImportChoices, more: string[]): Fragment {
  const { properties } = operator;
  const { dataset, given } = choices.datasetFor(properties.text("fileName"));
  return becomes(
    "scan",
    settings({
      dataset,
      offset: properties.optionalCount("offset") || undefined,
      limit: properties.optionalCount("limit"),
      malformedRows: "skip",
    }),
    { inputs: 0, differences: [...(given ? [] : [ASSUMED]), ...more] },
  );
}

function csvScan(operator: ImportedOperator, choices: ImportChoices): Fragment {
  const { properties } = operator;
  return scanOf(operator, choices, [
    ...registration({
      delimiter: properties.optionalText("customDelimiter"),
      header: properties.flag("hasHeader", true),
      encoding: properties.optionalText("fileEncoding"),
    }),
    ...(properties.flag("hasHeader", true) ? [] : [NO_HEADER]),
  ]);
}

function jsonScan(operator: ImportedOperator, choices: ImportChoices): Fragment {
  const { properties } = operator;
  return scanOf(operator, choices, [
    ...registration({ encoding: properties.optionalText("fileEncoding") }),
    ...(properties.flag("flatten", false) ? [FLATTEN] : []),
  ]);
}

/** What to say when the file is registered, where it differs from what is found out anyway. */
function registration({ delimiter = "", header = true, encoding }: FileDetails): string[] {
  const options = [
    ...(delimiter === "" || delimiter === "," ? [] : [`--delimiter ${JSON.stringify(delimiter[0])}`]),
    ...(header ? [] : ["--no-header"]),
    ...(encoding.replace("-", "_").toUpperCase() === "UTF_16" ? ["--encoding utf-16"] : []),
  ];
  return options.length === 0 ? [] : [`Register its file with ${options.join(" ")}.`];
}

const VALUE_TYPES = ["string", "single string", "integer", "long", "double", "boolean", "timestamp", "binary"] as const;

/** Each line a row, as far as offset and limit reach; or the whole text in one. */
function textInput({ properties }: ImportedOperator): Fragment | Refusal {
  const type = properties.choice("attributeType", VALUE_TYPES);
  const name = properties.optionalText("attributeName").trim() || "line";
  const text = properties.optionalText("textInput");
  const [offset, limit] = [properties.optionalCount("fileScanOffset") ?? 0, properties.optionalCount("fileScanLimit")];
  if (type === "binary")
    return refused("It gives its text as bytes, which nothing here makes of a text; choose string in Texera.");
  if (type === "single string")
    return becomes("sql", { inputs: 0, statement: `SELECT ${literal(text)} AS ${quoteName(name)}` }, { inputs: 0 });
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.at(-1) === "") lines.pop();
  const kept = lines.slice(offset, limit === undefined ? undefined : offset + limit);
  return becomes(
    "text-source",
    { text: kept.map((line) => `${line}\n`).join(""), format: "lines", columns: [{ name, type }] },
    { inputs: 0 },
  );
}

export const SCAN_RULES: readonly ImportRule[] = [
  {
    types: ["CSVFileScan", "ParallelCSVFileScan", "CSVOldFileScan"],
    uses: ["scan"],
    summary: "the dataset given with `--dataset FILE=NAME`; offset and limit stay",
    differences: [ASSUMED, SKIPS, TYPES_OF_FILE, NO_HEADER],
    apply: csvScan,
  },
  {
    types: ["JSONLFileScan"],
    uses: ["scan"],
    summary: "the dataset given with `--dataset FILE=NAME`; offset and limit stay",
    differences: [ASSUMED, SKIPS, TYPES_OF_FILE, FLATTEN],
    apply: jsonScan,
  },
  {
    types: ["TextInput"],
    uses: ["text-source", "sql"],
    summary: "its lines; a single string as a query",
    differences: [],
    apply: textInput,
  },
];
