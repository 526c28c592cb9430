// The data of a chart as SQL: rows combined where a channel has an aggregate, at most so many of them, in an order that is
// always the same.
import type { AttributeType, Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import {
  CHANNELS,
  type CHART_AGGREGATES,
  type Channel,
  type ChartChannel,
  type ChartSettings,
} from "./chart-settings.js";
import { columnOf, findColumn } from "./settings.js";

/** One column of the chart's data. */
export interface ChartField {
  channel: Channel;
  /** SQL over input0. */
  sql: string;
  type: AttributeType;
  aggregated: boolean;
}
export type ChartFields = readonly ChartField[];

const FUNCTIONS: Record<(typeof CHART_AGGREGATES)[number], string> = {
  count: "count",
  sum: "sum",
  mean: "avg",
  median: "median",
  min: "min",
  max: "max",
  distinct: "count_distinct",
};

/** The channels that are used, in the order of CHANNELS. A heatmap without a color, and a histogram, count rows. */
export function chartFields(settings: ChartSettings, input: Schema): ChartFields {
  const channels: Partial<Record<Channel, ChartChannel>> = { ...settings };
  if (settings.mark === "heatmap") channels.color ??= { aggregate: "count" };
  return CHANNELS.flatMap((channel) => {
    const one = channels[channel];
    return one ? [fieldOf(channel, one, input)] : [];
  });
}

function fieldOf(channel: Channel, { column, aggregate }: ChartChannel, input: Schema): ChartField {
  const found = column === undefined ? undefined : findColumn(input, column)!;
  const source = found ? columnOf(0, input, found.name) : "*";
  const type = found?.type ?? "long";
  if (aggregate === undefined) return { channel, sql: source, type, aggregated: false };
  const call = aggregate === "distinct" ? `count(DISTINCT ${source})` : `${FUNCTIONS[aggregate]}(${source})`;
  const counts = aggregate === "count" || aggregate === "distinct";
  const keeps = aggregate === "min" || aggregate === "max";
  return { channel, sql: call, type: counts ? "long" : keeps ? type : "double", aggregated: true };
}

export interface ChartData {
  ctes: string[];
  /** The JSON array of the data. */
  values: string;
  /** Numbers of rows: of all, and of those kept. */
  total: string;
  kept: string;
}

/** SQL of the data of a chart. */
export function chartData(settings: ChartSettings, fields: ChartFields): ChartData {
  const names = fields.map(({ channel }) => quoteName(channel));
  const all = settings.mark === "histogram" ? histogram(settings, fields) : [combined(fields)];
  const columns = settings.mark === "histogram" ? ["x", "x2", "y", ...names.filter((name) => name !== '"x"')] : names;
  // Combined rows are told apart by their values; others are chosen by a hash of them, so that no range is preferred.
  const evenly = !fields.some(({ aggregated }) => aggregated) && settings.mark !== "histogram";
  const order = evenly ? `md5(CAST(row(${columns.join(", ")}) AS VARCHAR)), ALL` : "ALL";
  const types = new Map(fields.map(({ channel, type }) => [quoteName(channel), type]));
  const items = columns.map((name) => `${name} := ${inJson(name, types.get(name) ?? "double")}`);
  return {
    ctes: [
      ...all,
      `chart_kept AS (SELECT ${columns.join(", ")} FROM chart_data ORDER BY ${order.replace(", ALL", `, ${columns.join(", ")}`)} LIMIT ${settings.maxRows})`,
      `chart_values AS (SELECT struct_pack(${items.join(", ")}) AS value, row(${columns.join(", ")}) AS place FROM chart_kept)`,
    ],
    values: `(SELECT coalesce(to_json(list(value ORDER BY place)), CAST('[]' AS JSON)) FROM chart_values)`,
    total: "(SELECT count(*) FROM chart_data)",
    kept: "(SELECT count(*) FROM chart_kept)",
  };
}

function combined(fields: ChartFields): string {
  const items = fields.map(({ sql, channel }) => `${sql} AS ${quoteName(channel)}`);
  const keys = fields.filter(({ aggregated }) => !aggregated).map(({ sql }) => sql);
  const groups = keys.length > 0 && keys.length < fields.length ? ` GROUP BY ${keys.join(", ")}` : "";
  return `chart_data AS (SELECT ${items.join(", ")} FROM input0${groups})`;
}

/** The distance between two numbers farther out would be infinite. */
const FARTHEST = "8e307";

/** Bins of equal width from the least to the largest value, per color and facet; empty ones are left out, and so is what is infinite or no number. */
function histogram({ bins }: ChartSettings, fields: ChartFields): string[] {
  const x = fields.find(({ channel }) => channel === "x")!;
  const others = fields.filter((field) => field !== x);
  const value = `CAST(${x.sql} AS DOUBLE)`;
  const further = others.map(({ sql, channel }) => `, ${sql} AS ${quoteName(channel)}`).join("");
  const names = others.map(({ channel }) => `, ${quoteName(channel)}`).join("");
  const width = `(SELECT coalesce(nullif(max(x) - min(x), 0), 1) / ${bins} FROM chart_rows)`;
  const start = "(SELECT min(x) FROM chart_rows)";
  return [
    `chart_rows AS (SELECT ${value} AS x${further} FROM input0 WHERE abs(${value}) <= ${FARTHEST})`,
    `chart_bins AS (SELECT least(CAST(floor((x - ${start}) / ${width}) AS INTEGER), ${bins - 1}) AS bin${names} FROM chart_rows)`,
    `chart_data AS (SELECT ${start} + bin * ${width} AS x, ${start} + (bin + 1) * ${width} AS x2, count(*) AS y${names} FROM chart_bins GROUP BY bin${names})`,
  ];
}

/** A value as Vega reads it: instants in ISO 8601; what is infinite neither JSON nor an axis has. */
function inJson(sql: string, type: AttributeType): string {
  if (type === "timestamp") return `CASE WHEN isfinite(${sql}) THEN strftime(${sql}, '%Y-%m-%dT%H:%M:%S.%gZ') END`;
  return type === "double" ? `CASE WHEN isfinite(CAST(${sql} AS DOUBLE)) THEN ${sql} END` : sql;
}
