// What a chart may be told.
import { z } from "zod";
import { columnName, NUL, withoutNul } from "./settings.js";

/** How rows are combined. */
export const CHART_AGGREGATES = ["count", "sum", "mean", "median", "min", "max", "distinct"] as const;
const MARKS = ["bar", "line", "point", "area", "arc", "histogram", "boxplot", "heatmap"] as const;
export const CHANNELS = ["x", "y", "color", "size", "facet"] as const;
export type Channel = (typeof CHANNELS)[number];

const title = z.string().min(1).max(300).refine(withoutNul, NUL);
const channel = z.strictObject({
  column: columnName.optional().describe("The column shown; it may be left out for a count of rows."),
  aggregate: z
    .enum(CHART_AGGREGATES)
    .optional()
    .describe("Combines the rows that are equal in all channels without one. count without a column counts rows."),
  title: title.optional().describe("What stands beside it; the column's name when left out."),
});
export type ChartChannel = z.output<typeof channel>;

export const chartSettings = z.strictObject({
  mark: z
    .enum(MARKS)
    .describe(
      "What is drawn. arc: slices sized by y, one for each color; histogram: how many rows fall into each bin of x; boxplot: median and quartiles of y for each x; heatmap: x by y, filled by color, a count when left out.",
    ),
  x: channel.optional().describe("What runs from left to right."),
  y: channel.optional().describe("What runs upwards."),
  color: channel.optional().describe("What colors tell apart."),
  size: channel.optional().describe("Of points: what their size tells."),
  facet: channel.optional().describe("A chart of its own for each value."),
  title: title.optional().describe("What stands above the chart."),
  bins: z.int().min(1).max(500).default(20).describe("Of a histogram: number of bins."),
  maxRows: z
    .int()
    .min(1)
    .max(50_000)
    .default(5_000)
    .describe(
      "How many rows of data, after combining, the chart holds at most. What is left out its description says; rows that are not combined are chosen evenly.",
    ),
});
export type ChartSettings = z.output<typeof chartSettings>;
