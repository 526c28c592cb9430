// How people name a dataset: "name", "name@version", or "project/name@version" for another project's.
import { isName } from "./ids.js";

export interface DatasetReference {
  projectId: string;
  name: string;
  /** 0: the newest. */
  version: number;
}

const REFERENCE = /^(?:([^/@]+)\/)?([^/@]+)(?:@([1-9][0-9]{0,8}))?$/;

/** Reads a reference, relative to a project; undefined when it is none. */
export function parseDatasetReference(text: string, projectId: string): DatasetReference | undefined {
  const [, project = projectId, name = "", version = "0"] = REFERENCE.exec(text) ?? [];
  if (!isName(project) || !isName(name)) return undefined;
  return { projectId: project, name, version: Number(version) };
}
