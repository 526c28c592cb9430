import { foldName, listNames } from "../names.js";
import type { Schema } from "../plan.js";
import type { Finding } from "./operator.js";
import { findColumn, isNumeric } from "./settings.js";

/** What keeps the rows of an input from standing among those of input 0: columns are matched by name. */
export function differingColumns(first: Schema, other: Schema, port: number): Finding[] {
  const findings: Finding[] = [];
  const add = (message: string) => findings.push({ property: "", message });
  const missing = first.filter(({ name }) => !findColumn(other, name));
  const names = new Set(first.map(({ name }) => foldName(name)));
  const extra = other.filter(({ name }) => !names.has(foldName(name)));
  const quoted = (columns: Schema) => listNames(columns.map(({ name }) => JSON.stringify(name)));
  if (missing.length > 0)
    add(`Input ${port} lacks columns of input 0: ${quoted(missing)}; make them equal with a project or derive.`);
  if (extra.length > 0)
    add(`Input ${port} has columns that input 0 lacks: ${quoted(extra)}; make them equal with a project.`);
  for (const a of first) {
    const b = findColumn(other, a.name);
    if (b && a.type !== b.type && !(isNumeric(a.type) && isNumeric(b.type)))
      add(
        `Column ${JSON.stringify(a.name)} is ${a.type} in input 0 and ${b.type} in input ${port}; convert one with a cast.`,
      );
  }
  return findings;
}
