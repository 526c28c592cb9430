// How an operator type of Texera becomes operators of ours: a rule for each type, in the families beside this file.
//
// I1  A rule sees one operator: its settings and its ports, never the rows or columns that arrive. What would need to
//     know them is left to the compiler, which does.
// I2  What a rule cannot carry over it refuses, with a sentence that says what to do. What it carries over and behaves
//     otherwise it says as a difference. Nothing is dropped in silence.
import type { Json, Properties } from "../plan.js";
import type { ReadProperties } from "./texera-properties.js";

/** An operator of the exported workflow as a rule sees it. */
export interface ImportedOperator {
  type: string;
  properties: ReadProperties;
  /** Links that end at each of its input ports, by number. */
  sources: readonly number[];
  /** Its output ports. */
  outputs: number;
}

/** What an operator becomes: one operator of ours or several, and where its drawn ports are found on them. */
export interface Fragment {
  /** The first stands for the operator: it takes its id, its name, and its results are viewed. */
  operators: readonly FragmentOperator[];
  /** Between its operators, from output port 0. */
  links: readonly { from: string; to: string; toPort: number }[];
  /** The ports that read what arrives at each drawn input port. */
  inputs: readonly (readonly { operator: string; port: number }[])[];
  /** True when the links of the only drawn port end at one port each of the first operator, as many as it has. */
  gathers?: boolean;
  /** The number of drawn output ports; they are those of the first operator. */
  outputs: number;
  /** What behaves otherwise than in Texera, or has to be looked at: sentences. */
  differences: readonly string[];
}

export interface FragmentOperator {
  /** Empty for the first; of the others, what is put behind the operator's id. */
  suffix: string;
  type: string;
  properties: Properties;
}

/** Why an operator cannot be imported, and what to do. */
export interface Refusal {
  refused: string;
}

export interface ImportRule {
  /** As Texera writes them in "operatorType". */
  types: readonly string[];
  /** The operator types of ours that it uses; empty for types that are never imported. */
  uses: readonly string[];
  /** What it becomes, for docs/texera.md. */
  summary: string;
  /** What may behave otherwise, for docs/texera.md; `apply` tells each of them where it applies. */
  differences: readonly string[];
  apply(operator: ImportedOperator, choices: ImportChoices): Fragment | Refusal;
}

/** What whoever imports has said beforehand. */
export interface ImportChoices {
  /** The dataset that stands for a file, and whether somebody said so. */
  datasetFor(path: string): { dataset: string; given: boolean };
}

export const refused = (sentence: string): Refusal => ({ refused: sentence });

export const isRefusal = (outcome: Fragment | Refusal): outcome is Refusal => "refused" in outcome;

/** One operator of ours with as many ports as the drawn one. */
export function becomes(
  type: string,
  properties: Properties,
  { inputs = 1, outputs = 1, differences = [] }: { inputs?: number; outputs?: number; differences?: string[] } = {},
): Fragment {
  return {
    operators: [{ suffix: "", type, properties }],
    links: [],
    inputs: Array.from({ length: inputs }, (_, port) => [{ operator: "", port }]),
    outputs,
    differences,
  };
}

/** The object without members that are undefined. */
export const settings = (members: { [name: string]: Json | undefined }): Properties =>
  Object.fromEntries(Object.entries(members).filter((entry): entry is [string, Json] => entry[1] !== undefined));
