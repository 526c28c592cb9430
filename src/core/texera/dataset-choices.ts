// Which dataset stands for which file of an exported workflow. Its scans name files as /owner/dataset/version/path; whoever
// imports names them by as much of the end of that as tells them apart.
import { isName } from "../ids.js";
import type { ExportedWorkflow } from "./exported-workflow.js";
import type { ImportChoices } from "./import-rule.js";
import { readProperties } from "./texera-properties.js";

/** A file, or the end of its path, and the dataset that stands for it. */
export interface GivenDataset {
  file: string;
  dataset: string;
}

/** The files that a workflow reads, each once, in the order of the workflow. */
export const filesOf = ({ operators }: ExportedWorkflow): string[] => [
  ...new Set(operators.map((o) => readProperties(o.properties).optionalText("fileName")).filter(Boolean)),
];

/** Whether a file is meant: by its whole path, or by the last parts of it. */
export const meansPath = (file: string, path: string): boolean =>
  path === file || partsOf(path).slice(-partsOf(file).length).join("/") === partsOf(file).join("/");

/** What was given, the closest match first; a name made of the file's where nothing was. */
export function datasetChoices(files: readonly string[], given: readonly GivenDataset[]): ImportChoices {
  const exactFirst = [...given].sort((a, b) => partsOf(b.file).length - partsOf(a.file).length);
  return {
    datasetFor(path) {
      const found = exactFirst.find(({ file }) => meansPath(file, path));
      return found ? { dataset: found.dataset, given: true } : { dataset: suggestedName(path, files), given: false };
    },
  };
}

/** The file's name without its extension, with folders before it as far as other files have the same name. */
function suggestedName(path: string, files: readonly string[]): string {
  const parts = partsOf(path);
  const others = files.filter((file) => file !== path).map(nameOf(1));
  const length = others.includes(nameOf(1)(path)) ? parts.length : 1;
  return nameOf(length)(path);
}

const nameOf =
  (length: number) =>
  (path: string): string => {
    const text = partsOf(path)
      .slice(-length)
      .join("-")
      .replace(/\.[A-Za-z0-9]{1,8}$/, "")
      .replace(/[^A-Za-z0-9_.-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 128);
    return isName(text) ? text : "dataset";
  };

const partsOf = (path: string): string[] => path.split(/[/\\]/).filter(Boolean);
