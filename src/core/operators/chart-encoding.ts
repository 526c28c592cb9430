// How the data of a chart is drawn: mark and encoding of Vega-Lite. Fields are called like their channels, so that no
// column's name needs escaping.
import type { AttributeType, Json, Schema } from "../plan.js";
import type { ChartField, ChartFields } from "./chart-data.js";
import type { Channel, ChartSettings } from "./chart-settings.js";
import { findColumn, isNumeric } from "./settings.js";

export interface ChartEncoding {
  mark: Json;
  encoding: Record<string, Json>;
}

export function encodingOf(settings: ChartSettings, fields: ChartFields, input: Schema): ChartEncoding {
  const of = (channel: Channel): Record<string, Json> | undefined => {
    const field = fields.find((one) => one.channel === channel);
    return field && { field: channel, type: scaleOf(field, settings), title: titleOf(channel, settings, input) };
  };
  const shared = compact({ color: of("color"), size: of("size"), facet: of("facet") });
  const mark = (type: string): Json => ({ type, tooltip: true });
  switch (settings.mark) {
    case "arc":
      return { mark: mark("arc"), encoding: compact({ theta: of("y"), ...shared }) };
    case "histogram": {
      const x = { ...of("x"), bin: "binned" };
      const y = { field: "y", type: "quantitative", title: "rows" };
      return { mark: mark("bar"), encoding: compact({ x, x2: { field: "x2" }, y, ...shared }) };
    }
    case "heatmap":
      return {
        mark: mark("rect"),
        encoding: compact({ x: discrete(of("x")), y: discrete(of("y")), ...shared }),
      };
    case "boxplot":
      return { mark: { type: "boxplot" }, encoding: compact({ x: discrete(of("x")), y: of("y"), ...shared }) };
    case "bar":
    case "area": {
      const [x, y, { color }] = [of("x"), of("y"), shared];
      if (settings.mark === "bar" ? !color || addsUp(settings) : color && addsUp(settings))
        return { mark: mark(settings.mark), encoding: compact({ x, y, ...shared }) };
      const places = { x, y: y && { ...y, stack: null } };
      if (settings.mark === "bar" && DISCRETE.has(x?.type))
        return { mark: mark("bar"), encoding: compact({ ...places, xOffset: discrete(of("color")), ...shared }) };
      return {
        mark: { type: settings.mark, tooltip: true, ...(color ? { opacity: 0.6 } : {}) },
        encoding: compact({ ...places, ...shared }),
      };
    }
    default:
      return { mark: mark(settings.mark), encoding: compact({ x: of("x"), y: of("y"), ...shared }) };
  }
}

/** Whether values of several colors may be put on top of each other: the sum of two means is the mean of nothing. */
export const addsUp = ({ y }: ChartSettings): boolean => [undefined, "sum", "count"].includes(y?.aggregate);

const DISCRETE: ReadonlySet<Json | undefined> = new Set(["nominal", "ordinal"]);

const compact = (members: Record<string, Json | undefined>): Record<string, Json> =>
  Object.fromEntries(Object.entries(members).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));

const SCALES: Partial<Record<AttributeType, string>> = { timestamp: "temporal" };

/** Facets tell values apart; along axes and in colors numbers have a scale. */
function scaleOf({ channel, type }: ChartField, { mark }: ChartSettings): string {
  if (channel === "facet" || (mark === "arc" && channel === "color")) return "nominal";
  if (mark === "bar" && channel === "x" && isNumeric(type)) return "ordinal";
  return isNumeric(type) ? "quantitative" : (SCALES[type] ?? "nominal");
}

/** An axis of boxes or cells has one place for each value. */
const discrete = (encoding: Record<string, Json> | undefined): Record<string, Json> | undefined =>
  encoding && { ...encoding, type: encoding.type === "nominal" ? "nominal" : "ordinal" };

function titleOf(channel: Channel, settings: ChartSettings, input: Schema): string {
  const one = settings[channel];
  if (one?.title !== undefined) return one.title;
  const name = one?.column === undefined ? undefined : (findColumn(input, one.column)?.name ?? one.column);
  if (name === undefined) return "rows";
  return one?.aggregate === undefined
    ? name
    : `${one.aggregate === "distinct" ? "distinct values" : one.aggregate} of ${name}`;
}
