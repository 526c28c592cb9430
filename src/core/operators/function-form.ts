// How user code is called: found by the names it defines, unless its author says. The code is only read, never run.
import type { FunctionCall, Language } from "../plan.js";

/** How a function is called, and by which name. */
export interface FunctionForm {
  call: FunctionCall;
  entryPoint: string;
}

/** Names of plain functions, in the order in which they are looked for. */
export const ENTRY_POINTS: Record<Language, Record<FunctionCall, string>> = {
  python: { tuple: "process_tuple", batch: "process_batch", table: "process_table", source: "produce" },
  javascript: { tuple: "processTuple", batch: "processBatch", table: "processTable", source: "produce" },
};

/** Base classes of pytexera, and how what is derived from them is called. */
const PYTEXERA: Record<string, FunctionCall> = {
  UDFOperatorV2: "tuple",
  UDFBatchOperator: "batch",
  UDFTableOperator: "table",
  UDFSourceOperator: "source",
};
const CLASS = new RegExp(
  `^class[ \\t]+(\\w+)[ \\t]*\\([ \\t]*(?:\\w+\\.)?(${Object.keys(PYTEXERA).join("|")})[ \\t]*[,)]`,
  "gm",
);

/** What the code defines; a class of pytexera goes before a function. Undefined when it defines nothing of the kind. */
export function formOf(code: string, language: Language, call: FunctionCall | undefined): FunctionForm | undefined {
  const fits = (other: FunctionCall) => call === undefined || call === other;
  if (language === "python")
    for (const [, name, base] of code.matchAll(CLASS)) {
      const found = PYTEXERA[base!]!;
      if (fits(found)) return { call: found, entryPoint: name! };
    }
  for (const [found, name] of Object.entries(ENTRY_POINTS[language]) as [FunctionCall, string][])
    if (fits(found) && new RegExp(`\\b${name}\\b`).test(code)) return { call: found, entryPoint: name };
  return undefined;
}

/** The sentence about code that defines nothing to be called. */
export function noForm(language: Language, call: FunctionCall | undefined): string {
  const names = ENTRY_POINTS[language];
  if (call !== undefined)
    return `The code defines no function ${names[call]}; ${WHEN[call]}, as "call" says. Define it, or change "call".`;
  return `The code defines no function ${names.tuple}; it is called once per row. A function over more is ${names.batch} or ${names.table}, one that makes rows ${names.source}.`;
}

const WHEN: Record<FunctionCall, string> = {
  tuple: "it is called once per row",
  batch: "it is called once per batch of rows",
  table: "it is called once per input, with all its rows",
  source: "it is called once, to make rows",
};
