// A user function that stands for operators of a type we have nothing like. Its file begins with comment lines that say
// what it gives; the first of them is where the operator's settings arrive:
//
//     # outputs: {Spam result attribute}: boolean, {Score result attribute}: double
//     # retain-input-columns: true
//     def process_tuple(tuple_): … properties["attribute"] …
//
// M1  Line numbers stay as they are in the file: the settings take the place of the first line's comment.
// M2  {name} in the outputs is the operator's setting of that name, so that one file serves several operators.
import {
  ATTRIBUTE_TYPES,
  type AttributeType,
  type Json,
  type Language,
  type Properties,
  type Schema,
} from "../plan.js";
import { type Fragment, type ImportedOperator, type Refusal, refused } from "./import-rule.js";
import { functionFragment } from "./import-user-functions.js";

export interface MappedCode {
  /** For sentences. */
  fileName: string;
  language: Language;
  code: string;
}

const COMMENT: Record<Language, string> = { python: "#", javascript: "//" };

/** The header's "name: value" lines; `undefined` when the file does not begin with such a comment. */
function headerOf({ code, language }: MappedCode): ReadonlyMap<string, string> | undefined {
  const header = new Map<string, string>();
  for (const line of code.split("\n")) {
    const comment = line.trim();
    if (!comment.startsWith(COMMENT[language])) break;
    const [, name, value] = /^([a-z-]+)\s*:\s*(.*)$/.exec(comment.slice(COMMENT[language].length).trim()) ?? [];
    if (name !== undefined) header.set(name, value!);
    else if (header.size === 0) return undefined;
  }
  return header.size === 0 ? undefined : header;
}

export function mappedFunction(
  { properties, sources, outputs }: ImportedOperator,
  mapped: MappedCode,
): Fragment | Refusal {
  const { fileName, language, code } = mapped;
  const header = headerOf(mapped);
  if (header === undefined)
    return refused(
      `${fileName} does not begin with what it gives; write "${COMMENT[language]} outputs: NAME: TYPE, …" into its first line (docs/texera.md).`,
    );
  if (sources.length > 2 || outputs !== 1)
    return refused(
      `A user function that stands for an operator has at most 2 inputs and one output, and this has ${sources.length} and ${outputs}.`,
    );
  const given = header.get("outputs") ?? "";
  const columns = given.trim() === "" ? [] : given.split(",").map((item) => outputColumn(item, properties.raw));
  const wrong = columns.find((column) => typeof column === "string");
  if (wrong !== undefined) return refused(`${fileName}: ${wrong}`);
  const retain = header.get("retain-input-columns") ?? "true";
  if (retain !== "true" && retain !== "false")
    return refused(`${fileName}: retain-input-columns is true or false, not ${JSON.stringify(retain.slice(0, 40))}.`);
  const retained = header.get("retained-input");
  if (retained !== undefined && retained !== "0" && retained !== "1")
    return refused(`${fileName}: retained-input is 0 or 1, not ${JSON.stringify(retained.slice(0, 40))}.`);
  return functionFragment(
    {
      type: `${language}-function`,
      code: withProperties(code, language, properties.raw),
      inputs: sources.length,
      outputColumns: columns as Schema,
      retainInputColumns: retain === "true" && sources.length > 0,
      retainedInput: retained === undefined ? undefined : Number(retained),
    },
    [`The user function in ${fileName} stands for it: the result is what that gives.`],
  );
}

/** One column of "name: type"; a sentence when it is none. */
function outputColumn(item: string, properties: Properties): Schema[number] | string {
  const [, pattern, type] = /^\s*(.+?)\s*:\s*([a-z]+)\s*$/.exec(item) ?? [];
  if (pattern === undefined || !isAttributeType(type!))
    return `${JSON.stringify(item.trim().slice(0, 80))} is no output; write NAME: TYPE with one of the types ${ATTRIBUTE_TYPES.join(", ")}.`;
  let absent: string | undefined;
  const name = pattern.replace(/\{([^{}]+)\}/g, (_, property: string) => {
    const value = Object.hasOwn(properties, property) ? properties[property] : undefined;
    if (typeof value === "string" && value !== "") return value;
    absent = property;
    return "";
  });
  if (absent !== undefined)
    return `the operator has no text in its property ${JSON.stringify(absent)}, which an output is named after.`;
  return { name, type: type as AttributeType };
}

const isAttributeType = (text: string): text is AttributeType => (ATTRIBUTE_TYPES as readonly string[]).includes(text);

/** The settings, as a literal, before the comment of the first line. */
function withProperties(code: string, language: Language, properties: Properties): string {
  const assignment =
    language === "python"
      ? `properties = ${pythonLiteral(properties)}  `
      : `const properties = ${JSON.stringify(properties).replace(/[\u2028\u2029]/g, escaped)}; `;
  return assignment + code.replace(/^[ \t]+/, "");
}

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16)}`;

/** JSON as Python writes it: texts and numbers are written alike. */
function pythonLiteral(value: Json): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, member]) => `${JSON.stringify(name)}: ${pythonLiteral(member)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}
