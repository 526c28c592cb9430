// Logical plans for tests, written short, and the datasets they scan.
import type { DatasetScan, LogicalPlan, Properties, Schema } from "../../src/core/plan.js";

export type ShortOperator = { type: string; from?: string[]; viewResult?: boolean; disabled?: boolean } & Properties;

/** A plan from operators by id; `from` names what feeds ports 0, 1, … and the rest are settings. */
export function planOf(operators: Record<string, ShortOperator>): LogicalPlan {
  const entries = Object.entries(operators);
  return {
    operators: entries.map(([id, { type, from: _, viewResult = false, disabled = false, ...properties }]) => ({
      id,
      type,
      properties,
      displayName: "",
      disabled,
      viewResult,
    })),
    links: entries.flatMap(([to, { from = [] }]) =>
      from.map((source, toPort) => ({ from: source, fromPort: 0, to, toPort })),
    ),
  };
}

/** Columns written as "name: type, name: type". */
export const columns = (text: string): Schema =>
  text.split(",").map((column) => {
    const [name = "", type = ""] = column.split(":").map((part) => part.trim());
    return { name, type } as Schema[number];
  });

export const dataset = (datasetName: string, fileSchema: Schema): DatasetScan => ({
  datasetId: `id-of-${datasetName}`,
  datasetName,
  version: 1,
  contentHash: `hash-of-${datasetName}`,
  uri: `file:///data/${datasetName}.parquet`,
  format: { kind: "parquet", delimiter: "", header: undefined, encoding: "" },
  rowCount: 10n,
  byteCount: 100n,
  fileSchema,
  offset: 0n,
  limit: undefined,
  malformedRows: "fail",
});

export const FLIGHTS = dataset(
  "flights",
  columns("date: timestamp, delay: long, distance: long, origin: string, destination: string"),
);
export const AIRPORTS = dataset(
  "airports",
  columns("iata: string, name: string, city: string, state: string, latitude: double, longitude: double"),
);
export const EVENTS = dataset("events", columns("id: long, payload: any, raw: binary, ok: boolean"));

/** Finds the datasets above by name. */
export const resolveTestDataset = async (reference: string): Promise<DatasetScan | undefined> =>
  [FLIGHTS, AIRPORTS, EVENTS].find(({ datasetName }) => datasetName === reference);
