// Charts. Texera draws with plotly, in Python, and gives a page; our chart gives a Vega-Lite specification.
import type { Properties } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { literal } from "./import-conditions.js";
import {
  becomes,
  type Fragment,
  type ImportedOperator,
  type ImportRule,
  type Refusal,
  refused,
  settings,
} from "./import-rule.js";
import type { ReadProperties } from "./texera-properties.js";

const SPECIFICATION =
  "It gives a Vega-Lite specification in the column chart, where Texera gives a page in html-content.";
const LOOKS = "Colors, patterns, opacity, hints under the pointer and further plots at the edges are left out.";
const UPRIGHT = "It stands upright here.";
const NO_LOGARITHM = "Its axes are not logarithmic here.";
const NO_VIOLIN = "It is a box plot without the violin around it.";

/** A channel of our chart, when a column was chosen for it. */
const channel = (column: string | undefined, more: Properties = {}) =>
  column === undefined ? undefined : { column, ...more };

const chart = (members: Parameters<typeof settings>[0], differences: string[] = []): Fragment =>
  becomes("chart", settings(members), { differences: [SPECIFICATION, ...differences] });

const saysAny = ({ raw }: ReadProperties, names: readonly string[]): boolean =>
  names.some((name) => Object.hasOwn(raw, name) && raw[name] !== null && raw[name] !== "" && raw[name] !== false);

/** The note about looks, when any of these settings was made. */
const looks = (properties: ReadProperties, ...names: string[]): string[] => (saysAny(properties, names) ? [LOOKS] : []);

function barChart({ properties }: ImportedOperator): Fragment {
  return chart(
    {
      mark: "bar",
      x: channel(properties.text("fields")),
      y: channel(properties.text("value"), { aggregate: "sum", title: properties.text("value") }),
      color: channel(properties.optionalColumn("categoryColumn")),
    },
    [...(properties.flag("horizontalOrientation", false) ? [UPRIGHT] : []), ...looks(properties, "pattern")],
  );
}

/** Lines of one chart may have columns of their own: a query then puts their points under each other. */
function lineChart({ properties }: ImportedOperator): Fragment | Refusal {
  const lines = properties.list("lines").map((line) => {
    const y = line.text("y");
    const mode = line.choice("mode", ["line with dots", "line", "dots"]);
    return { x: line.text("x"), y, mode, name: line.optionalText("name").trim() || y, looks: looks(line, "color") };
  });
  const [first] = lines;
  if (first === undefined) return refused("It draws no line; add one in Texera, or remove the operator.");
  const title = (name: string) => properties.optionalText(name).trim() || undefined;
  const mark = lines.every(({ mode }) => mode === "dots") ? "point" : "line";
  const axis = (column: string, name: string) => settings({ column, title: title(name) });
  const differences = [...new Set(lines.flatMap((line) => line.looks))];
  if (lines.length === 1) return chart({ mark, x: axis(first.x, "xLabel"), y: axis(first.y, "yLabel") }, differences);
  const points = lines.map(
    ({ x, y, name }) => `SELECT ${quoteName(x)} AS x, ${quoteName(y)} AS y, ${literal(name)} AS line FROM input0`,
  );
  const drawn = chart({ mark, x: axis("x", "xLabel"), y: axis("y", "yLabel"), color: { column: "line" } }, differences);
  return {
    ...drawn,
    operators: [
      ...drawn.operators,
      { suffix: "points", type: "sql", properties: { statement: points.join("\nUNION ALL ") } },
    ],
    links: [{ from: "points", to: "", toPort: 0 }],
    inputs: [[{ operator: "points", port: 0 }]],
  };
}

function scatterplot({ properties }: ImportedOperator): Fragment {
  const logarithmic = properties.flag("xLogScale", false) || properties.flag("yLogScale", false);
  const opaque = properties.number("alpha", 1) === 1;
  return chart(
    {
      mark: "point",
      x: channel(properties.text("xColumn")),
      y: channel(properties.text("yColumn")),
      color: channel(properties.optionalColumn("colorColumn")),
    },
    [...(logarithmic ? [NO_LOGARITHM] : []), ...(opaque ? looks(properties, "hoverName") : [LOOKS])],
  );
}

function filledAreaPlot({ properties }: ImportedOperator): Fragment {
  const group = properties.optionalColumn("lineGroup");
  return chart(
    {
      mark: "area",
      x: channel(properties.text("x")),
      y: channel(properties.text("y")),
      color: channel(properties.optionalColumn("color") ?? group),
      facet: properties.flag("facetColumn", false) ? channel(group) : undefined,
    },
    looks(properties, "pattern"),
  );
}

function timeSeriesPlot({ properties }: ImportedOperator): Fragment {
  return chart(
    {
      mark: properties.choice("line", ["line", "area"]),
      x: channel(properties.text("timeColumn")),
      y: channel(properties.text("valueColumn")),
      color: channel(properties.optionalColumn("categoryColumn")),
      facet: channel(properties.optionalColumn("facetColumn")),
    },
    looks(properties, "slider"),
  );
}

function bubbleChart({ properties }: ImportedOperator): Fragment {
  return chart({
    mark: "point",
    x: channel(properties.text("xValue")),
    y: channel(properties.text("yValue")),
    size: channel(properties.text("zValue")),
    color: properties.flag("enableColor", false) ? channel(properties.text("colorCategory")) : undefined,
  });
}

function histogram({ properties }: ImportedOperator): Fragment {
  return chart(
    {
      mark: "histogram",
      x: channel(properties.text("value")),
      color: channel(properties.optionalColumn("color")),
      facet: channel(properties.optionalColumn("separateBy")),
    },
    looks(properties, "marginal", "pattern"),
  );
}

function boxPlot({ properties }: ImportedOperator): Fragment {
  return chart({ mark: "boxplot", y: channel(properties.text("value")) }, [
    ...(properties.flag("horizontalOrientation", false) ? [UPRIGHT] : []),
    ...(properties.flag("violinPlot", false) ? [NO_VIOLIN] : []),
  ]);
}

const rule = (type: string, summary: string, differences: string[], apply: ImportRule["apply"]): ImportRule => ({
  types: [type],
  uses: ["chart"],
  summary,
  differences: [SPECIFICATION, ...differences],
  apply,
});

export const CHART_RULES: readonly ImportRule[] = [
  rule("BarChart", "bars, values of the same field added up", [LOOKS, UPRIGHT], barChart),
  {
    ...rule("LineChart", "lines; of several, a query puts their points together", [LOOKS], lineChart),
    uses: ["chart", "sql"],
  },
  rule("PieChart", "slices", [], ({ properties }) =>
    chart({ mark: "arc", y: channel(properties.text("value")), color: channel(properties.text("name")) }),
  ),
  rule("Scatterplot", "points", [LOOKS, NO_LOGARITHM], scatterplot),
  rule("BubbleChart", "points of different sizes", [], bubbleChart),
  rule("Histogram", "a histogram of 20 bins", [LOOKS], histogram),
  rule("HeatMap", "cells", [], ({ properties }) =>
    chart({
      mark: "heatmap",
      x: channel(properties.text("x")),
      y: channel(properties.text("y")),
      color: channel(properties.text("Values")),
    }),
  ),
  rule("BoxViolinPlot", "a box plot", [UPRIGHT, NO_VIOLIN], boxPlot),
  rule("FilledAreaPlot", "areas", [LOOKS], filledAreaPlot),
  rule("TimeSeriesPlot", "a line or an area over time", [LOOKS], timeSeriesPlot),
  rule("DotPlot", "a point for each value, by how often it occurs", [], ({ properties }) =>
    chart({ mark: "point", x: { aggregate: "count" }, y: channel(properties.text("Count Attribute")) }),
  ),
];
