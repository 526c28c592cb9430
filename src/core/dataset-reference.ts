// How people name a dataset: "name", "name@version", or "project/name@version" for another project's.
import { isName } from "./ids.js";
import type { DatasetScan } from "./plan.js";

export interface DatasetReference {
  projectId: string;
  name: string;
  /** 0: the newest. */
  version: number;
}

/** The version that a reference means, as a plan pins it. */
export interface FoundDataset extends DatasetScan {
  /** Rows of the file that do not fit its columns; left out: none. */
  malformedRowCount?: bigint;
}

const REFERENCE = /^(?:([^/@]+)\/)?([^/@]+)(?:@([1-9][0-9]{0,8}))?$/;

/** Reads a reference, relative to a project; undefined when it is none. */
export function parseDatasetReference(text: string, projectId: string): DatasetReference | undefined {
  const [, project = projectId, name = "", version = "0"] = REFERENCE.exec(text) ?? [];
  if (!isName(project) || !isName(name)) return undefined;
  return { projectId: project, name, version: Number(version) };
}
