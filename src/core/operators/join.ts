import { z } from "zod";
import { foldName } from "../names.js";
import { quoteName } from "../sql-text.js";
import { withoutClashes } from "./clashing-names.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, listOf } from "./settings.js";

const KINDS = { inner: "INNER", left: "LEFT", right: "RIGHT", full: "FULL", semi: "SEMI", anti: "ANTI" };
type Kind = keyof typeof KINDS;

/** Pairs rows of two inputs. The right side is read completely before the first row of the left one. */
export const join = defineOperator({
  type: "join",
  summary: "Pairs rows of input 0 (left) and input 1 (right) whose key columns are equal.",
  group: "combine",
  inputs: 2,
  settings: z.strictObject({
    type: z
      .enum(Object.keys(KINDS) as [Kind, ...Kind[]])
      .default("inner")
      .describe(
        "inner: only rows with a partner; left: every row of input 0 too; right: every row of input 1 too; full: every row of both; semi: rows of input 0 with a partner, each once; anti: rows of input 0 without one.",
      ),
    on: listOf(
      z.strictObject({
        left: columnName.describe("A column of input 0."),
        right: columnName.describe("The column of input 1 it must equal."),
      }),
    ).describe(
      "Pairs of key columns; a null equals nothing. Those of the right side are left out of the result: where a row of input 1 has no partner, its keys stand in the left ones. Of right and full, a left column named twice stands for the first of its partners, and the others stay.",
    ),
  }),
  example: {
    properties: { type: "full", on: [{ left: "origin", right: "iata" }] },
    inputs: [
      exampleRows({ origin: "string", name: "string" }, ["SEA", "morning"], ["SEA", "night"], ["XXX", "noon"]),
      exampleRows({ iata: "string", name: "string" }, ["SEA", "Seattle"], ["SFO", "San Francisco"]),
    ],
    outputs: [
      exampleRows(
        { origin: "string", name: "string", "name#@1": "string" },
        ["SEA", "morning", "Seattle"],
        ["SEA", "night", "Seattle"],
        ["XXX", "noon", null],
        ["SFO", null, "San Francisco"],
      ),
    ],
  },
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
        const message = `${quoteName(a.name)} is ${a.type} and ${quoteName(b.name)} is ${b.type}; convert one of them in a cast before the join.`;
        return [{ property: `on.${i}`, message }];
      });
    },
    body: {
      kind: "query",
      sql([left, right]) {
        const keys = on.map((p) => `${columnOf(0, left!, p.left)} = ${columnOf(1, right!, p.right)}`).join(" AND ");
        const dropped = new Set(shownPairs(type, on).map((pair) => foldName(pair.right)));
        const kept =
          type === "semi" || type === "anti" ? [] : right!.filter(({ name }) => !dropped.has(foldName(name)));
        const renamed = withoutClashes(left!, kept);
        // Without a partner on the left, a key is known from the right.
        const partnerOf = (name: string) =>
          type === "right" || type === "full" ? on.find((pair) => foldName(pair.left) === foldName(name)) : undefined;
        const items = [
          ...left!.map(({ name }) => {
            const [column, partner] = [columnOf(0, left!, name), partnerOf(name)];
            return partner
              ? `coalesce(${column}, ${columnOf(1, right!, partner.right)}) AS ${quoteName(name)}`
              : column;
          }),
          ...kept.map(({ name }, i) => `${columnOf(1, right!, name)} AS ${quoteName(renamed[i]!)}`),
        ];
        return `SELECT ${items.join(", ")} FROM input0 ${KINDS[type]} JOIN input1 ON ${keys}`;
      },
    },
  }),
});

/**
 * The pairs whose right column is left out because the left one shows its value. Where a row of input 1 may come without
 * a partner, a left column stands for one right column only.
 */
function shownPairs<Pair extends { left: string }>(type: Kind, on: readonly Pair[]): readonly Pair[] {
  if (type !== "right" && type !== "full") return on;
  return on.filter(({ left }, i) => on.findIndex((pair) => foldName(pair.left) === foldName(left)) === i);
}
