// Names of two inputs' columns beside each other, as Apache Texera gives them: a column of the right side whose name is
// taken gets the suffix #@1, or the next number that is free: `name`, `name#@1`, `name#@2`.
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { columnOf } from "./settings.js";

const SUFFIX = /#@(\d+)$/;

/** Names for the right columns beside the left ones, which keep theirs. */
export function withoutClashes(left: Schema, right: Schema): string[] {
  const taken = new Set(left.map(({ name }) => foldName(name)));
  // A right column that keeps its name is not renamed because of one before it.
  const own = new Set(right.map(({ name }) => foldName(name)));
  return right.map(({ name }) => {
    let free = name;
    while (taken.has(foldName(free)) || (free !== name && own.has(foldName(free))))
      free = `${name}#@${Number(SUFFIX.exec(free)?.[1] ?? 0) + 1}`;
    taken.add(foldName(free));
    return free;
  });
}

/** What a SELECT takes from both inputs: input 0's columns, then input 1's under names that are free. */
export function bothSides(left: Schema, right: Schema): string {
  const renamed = withoutClashes(left, right);
  return [
    ...left.map(({ name }) => columnOf(0, left, name)),
    ...right.map(({ name }, i) => `${columnOf(1, right, name)} AS ${quoteName(renamed[i]!)}`),
  ].join(", ");
}
