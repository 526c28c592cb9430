import { z } from "zod";
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, listOf } from "./settings.js";

const CLASH = "#@1";

/** Pairs rows of two inputs. The right side is read completely before the first row of the left one. */
export const join = defineOperator({
  type: "join",
  summary: "Pairs rows of input 0 (left) and input 1 (right) whose key columns are equal.",
  inputs: 2,
  settings: z.strictObject({
    type: z
      .enum(["inner", "left"])
      .default("inner")
      .describe("inner: only rows with a partner; left: every row of input 0."),
    on: listOf(z.strictObject({ left: columnName, right: columnName })).describe(
      "Pairs of key columns. Those of the right side are left out of the result.",
    ),
  }),
  describe: ({ type, on }) => ({
    columns: on.flatMap(({ left, right }, i) => [
      { path: `on.${i}.left`, input: 0, column: left },
      { path: `on.${i}.right`, input: 1, column: right },
    ]),
    partition: (port) => ({ kind: "hash", attributes: on.map((pair) => (port === 0 ? pair.left : pair.right)) }),
    dependsOn: (port) => (port === 0 ? [1] : []),
    check([left, right]) {
      return on.flatMap((pair, i) => {
        const [a, b] = [findColumn(left!, pair.left), findColumn(right!, pair.right)];
        if (!a || !b || a.type === b.type || (isNumeric(a.type) && isNumeric(b.type))) return [];
        const message = `${quoteName(a.name)} is ${a.type} and ${quoteName(b.name)} is ${b.type}; convert one of them in a derive before the join.`;
        return [{ property: `on.${i}`, message }];
      });
    },
    body: {
      kind: "query",
      sql([left, right]) {
        const keys = on.map((p) => `${columnOf(0, left!, p.left)} = ${columnOf(1, right!, p.right)}`).join(" AND ");
        const dropped = new Set(on.map((pair) => foldName(pair.right)));
        const kept = right!.filter(({ name }) => !dropped.has(foldName(name)));
        const renamed = withoutClashes(left!, kept);
        const items = [
          ...left!.map(({ name }) => columnOf(0, left!, name)),
          ...kept.map(({ name }, i) => `${columnOf(1, right!, name)} AS ${quoteName(renamed[i]!)}`),
        ];
        return `SELECT ${items.join(", ")} FROM input0 ${type === "left" ? "LEFT" : "INNER"} JOIN input1 ON ${keys}`;
      },
    },
  }),
});

/** Names for the right columns beside the left ones: one that is taken gets a suffix, as often as needed. */
function withoutClashes(left: Schema, right: Schema): string[] {
  const taken = new Set(left.map(({ name }) => foldName(name)));
  return right.map(({ name }) => {
    let free = name;
    while (taken.has(foldName(free))) free += CLASH;
    taken.add(foldName(free));
    return free;
  });
}
