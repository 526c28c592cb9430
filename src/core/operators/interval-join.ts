import { z } from "zod";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { bothSides } from "./clashing-names.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric } from "./settings.js";

const UNITS = ["year", "month", "day", "hour", "minute", "second"] as const;

const settings = z.strictObject({
  left: columnName.describe("The point: a column of input 0 with numbers or timestamps."),
  right: columnName.describe("Where the interval begins: a column of input 1 of the same kind."),
  constant: z
    .number()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .describe("How long the interval is. Between timestamps a whole number of units."),
  unit: z
    .enum(UNITS)
    .optional()
    .describe(
      "Unit of constant between timestamps; day when left out. A month later than the 31st is the month's last day.",
    ),
  includeLower: z.boolean().default(true).describe("Whether a point at the beginning of the interval lies in it."),
  includeUpper: z.boolean().default(true).describe("Whether a point at its end does."),
});
type Settings = z.output<typeof settings>;

/** Pairs points with the intervals they lie in. The right side is read completely before the first row of the left one. */
export const intervalJoin = defineOperator({
  type: "interval-join",
  summary: "Pairs rows whose left key lies between the right key and the right key plus a constant.",
  group: "combine",
  inputs: 2,
  settings,
  example: {
    properties: { left: "at", right: "from", constant: 2, unit: "hour", includeUpper: false },
    inputs: [
      exampleRows({ at: "timestamp" }, ["2024-05-01T08:00:00Z"], ["2024-05-01T09:59:00Z"], ["2024-05-01T10:00:00Z"]),
      exampleRows({ shift: "string", from: "timestamp" }, ["early", "2024-05-01T08:00:00Z"]),
    ],
    outputs: [
      exampleRows(
        { at: "timestamp", shift: "string", from: "timestamp" },
        ["2024-05-01T08:00:00Z", "early", "2024-05-01T08:00:00Z"],
        ["2024-05-01T09:59:00Z", "early", "2024-05-01T08:00:00Z"],
      ),
    ],
  },
  describe: (read) => ({
    columns: [
      { path: "left", input: 0, column: read.left },
      { path: "right", input: 1, column: read.right },
    ],
    partition: (port) => (port === 0 ? { kind: "none" } : { kind: "broadcast" }),
    dependsOn: (port) => (port === 0 ? [1] : []),
    check: (inputs) => misfits(read, inputs),
    body: {
      kind: "query",
      sql([left, right]) {
        const { point, begin, end } = bounds(read, left!, right!);
        const [lower, upper] = [read.includeLower ? ">=" : ">", read.includeUpper ? "<=" : "<"];
        return `SELECT ${bothSides(left!, right!)} FROM input0 INNER JOIN input1 ON ${point} ${lower} ${begin} AND ${point} ${upper} ${end}`;
      },
    },
  }),
});

function misfits({ left, right, constant, unit }: Settings, inputs: readonly Schema[]): Finding[] {
  const [point, begin] = [findColumn(inputs[0]!, left), findColumn(inputs[1]!, right)];
  if (!point || !begin) return [];
  const ofTime = point.type === "timestamp" && begin.type === "timestamp";
  if (!ofTime && !(isNumeric(point.type) && isNumeric(begin.type))) {
    const message = `${quoteName(point.name)} is ${point.type} and ${quoteName(begin.name)} is ${begin.type}; both must be numbers, or both timestamps: convert them with a cast first.`;
    return [{ property: "left", message }];
  }
  if (!ofTime && unit !== undefined)
    return [{ property: "unit", message: 'The keys are numbers, which have no unit; leave "unit" out.' }];
  const most = LONGEST[unit ?? "day"];
  if (ofTime && (!Number.isInteger(constant) || constant > most)) {
    const message = `Between timestamps it must be a whole number, ${most} ${unit ?? "day"}s at most; choose a smaller or larger unit.`;
    return [{ property: "constant", message }];
  }
  return [];
}

/** Of each unit: with so many, an interval that begins in the years to 9999 ends at an instant DuckDB knows (to 294246). */
const LONGEST: Record<(typeof UNITS)[number], number> = {
  year: 200_000,
  month: 2_400_000,
  day: 73_000_000,
  hour: 1_000_000_000,
  minute: 100_000_000_000,
  second: 6_000_000_000_000,
};

/** Whole numbers are added with more bits than they have, so that an interval's end never overflows. */
function bounds({ left, right, constant, unit = "day" }: Settings, leftInput: Schema, rightInput: Schema) {
  const [point, begin] = [columnOf(0, leftInput, left), columnOf(1, rightInput, right)];
  const { type } = findColumn(rightInput, right)!;
  if (type === "timestamp") return { point, begin, end: `${begin} + to_${unit}s(${constant})` };
  const isWhole = type !== "double" && Number.isInteger(constant);
  return { point, begin, end: `CAST(${begin} AS ${isWhole ? "HUGEINT" : "DOUBLE"}) + ${constant}` };
}
