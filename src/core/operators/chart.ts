import type { Schema } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { type ChartFields, chartData, chartFields } from "./chart-data.js";
import { addsUp, encodingOf } from "./chart-encoding.js";
import { CHANNELS, type Channel, type ChartSettings, chartSettings } from "./chart-settings.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { findColumn, isNumeric } from "./settings.js";

/** Nobody loads it: it is the name of the specification's version. */
const SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json";

/** A picture of its input: one row with a specification that holds its data. */
export const chart = defineOperator({
  type: "chart",
  summary: "Draws its input: gives one row with a Vega-Lite specification that holds the data.",
  group: "show",
  inputs: 1,
  settings: chartSettings,
  example: {
    properties: { mark: "bar", x: { column: "origin" }, y: { column: "delay", aggregate: "mean" }, title: "Delays" },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SEA", 14], ["SFO", 5])],
    outputs: [
      exampleRows({ chart: "any" }, [
        {
          $schema: SCHEMA,
          title: "Delays",
          description: "All 2 rows of data.",
          data: {
            values: [
              { x: "SEA", y: 9 },
              { x: "SFO", y: 5 },
            ],
          },
          mark: { type: "bar", tooltip: true },
          encoding: {
            x: { field: "x", type: "nominal", title: "origin" },
            y: { field: "y", type: "quantitative", title: "mean of delay" },
          },
        },
      ]),
    ],
  },
  describe: (settings) => ({
    blocking: true,
    columns: CHANNELS.flatMap((name) => {
      const column = settings[name]?.column;
      return column === undefined ? [] : [{ path: `${name}.column`, input: 0, column }];
    }),
    partition: () => ({ kind: "single" }),
    findings: wrongChannels(settings),
    check: ([input]) => wrongTypes(settings, input!),
    body: {
      kind: "query",
      sql([input]) {
        const fields = chartFields(settings, input!);
        return specification(settings, fields, input!);
      },
    },
  }),
});

function specification(settings: ChartSettings, fields: ChartFields, input: Schema): string {
  const { mark, encoding } = encodingOf(settings, fields, input);
  const { ctes, values, total, kept } = chartData(settings, fields);
  const said = `CASE WHEN ${total} > ${kept} THEN ${kept} || ' of ' || ${total} || ' rows of data; the others are left out.' ELSE 'All ' || ${total} || ' rows of data.' END`;
  const members = [
    `'$schema', ${quoteText(SCHEMA)}`,
    ...(settings.title === undefined ? [] : [`'title', ${quoteText(settings.title)}`]),
    `'description', ${said}`,
    `'data', json_object('values', ${values})`,
    `'mark', CAST(${quoteText(JSON.stringify(mark))} AS JSON)`,
    `'encoding', CAST(${quoteText(JSON.stringify(encoding))} AS JSON)`,
  ];
  return `SELECT * FROM (WITH ${ctes.join(", ")} SELECT json_object(${members.join(", ")}) AS chart)`;
}

const REQUIRED: Record<ChartSettings["mark"], readonly Channel[]> = {
  bar: ["x", "y"],
  line: ["x", "y"],
  point: ["x", "y"],
  area: ["x", "y"],
  arc: ["y", "color"],
  histogram: ["x"],
  boxplot: ["y"],
  heatmap: ["x", "y"],
};
const NOT_FOR: Partial<Record<ChartSettings["mark"], readonly Channel[]>> = {
  arc: ["x", "size"],
  histogram: ["y", "size"],
  boxplot: ["size"],
  heatmap: ["size"],
};

function wrongChannels(settings: ChartSettings): Finding[] {
  const { mark } = settings;
  const findings: Finding[] = REQUIRED[mark]
    .filter((name) => settings[name] === undefined)
    .map((name) => ({ property: name, message: `A chart with the mark ${mark} needs "${name}".` }));
  for (const name of NOT_FOR[mark] ?? [])
    if (settings[name]) findings.push({ property: name, message: `The mark ${mark} has no "${name}"; leave it out.` });
  if (mark === "arc" && !addsUp(settings))
    findings.push({
      property: "y.aggregate",
      message: 'The slices of an arc are parts of a whole; choose "sum" or "count".',
    });
  for (const name of CHANNELS) {
    const one = settings[name];
    if (one === undefined) continue;
    if (one.column === undefined && one.aggregate !== "count")
      findings.push({ property: `${name}.column`, message: 'Name a column, or choose the aggregate "count".' });
    if (one.aggregate !== undefined && (mark === "histogram" || mark === "boxplot" || name === "facet"))
      findings.push({
        property: `${name}.aggregate`,
        message: `${name === "facet" ? "A facet" : `The mark ${mark}`} takes no aggregate; leave it out.`,
      });
  }
  return findings;
}

function wrongTypes(settings: ChartSettings, input: Schema): Finding[] {
  return CHANNELS.flatMap((name) => {
    const one = settings[name];
    const found = one?.column === undefined ? undefined : findColumn(input, one.column);
    if (!one || !found) return [];
    const needsNumbers = one.aggregate !== undefined && ["sum", "mean", "median"].includes(one.aggregate);
    const isMeasured = (settings.mark === "histogram" && name === "x") || (settings.mark === "boxplot" && name === "y");
    const path = `${name}.column`;
    if ((needsNumbers || isMeasured || name === "size") && one.aggregate !== "count" && !isNumeric(found.type))
      return [
        {
          property: path,
          message: `This needs numbers, and ${quoteName(found.name)} is ${found.type}; cast it first.`,
        },
      ];
    if (found.type === "binary" || found.type === "any")
      return [
        {
          property: path,
          message: `${quoteName(found.name)} is ${found.type}, which cannot be drawn; derive a text or a number from it.`,
        },
      ];
    return [];
  });
}
