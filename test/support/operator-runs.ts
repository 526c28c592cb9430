// One operator over a few rows: compiled as the server does it, and run by DuckDB alone (fast, for many tries) or by the
// executor's engine (everything).
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DuckDBConnection, DuckDBInstance, type Json as DuckDBJson } from "@duckdb/node-api";
import { compile } from "../../src/core/compile.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import type { ExampleRows, OperatorDefinition } from "../../src/core/operators/operator.js";
import type {
  Compilation,
  DatasetScan,
  Json,
  LogicalPlan,
  PhysicalPlan,
  Properties,
  Schema,
} from "../../src/core/plan.js";
import { quoteText } from "../../src/core/scan-sql.js";
import { quoteName } from "../../src/core/sql-text.js";
import { castTo, createTable } from "../../src/executor/run/sql-text.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { createSchemaBinder } from "../../src/server/binding/schema-binder.js";
import { ran, scratch } from "./plan-runs.js";
import { dataset } from "./plans.js";

/** Settings as a test writes them. */
type Settings = Record<string, unknown>;

export interface OperatorRuns {
  /** The plan of scans and the operator, which is called "op", or what is wrong. */
  compile(type: string, properties: Settings, inputs: readonly ExampleRows[]): Promise<Compilation>;
  /** Findings as "property: message". */
  findings(type: string, properties: Settings, inputs: readonly ExampleRows[]): Promise<string[]>;
  /** Each output's rows, from its query alone. */
  queried(type: string, properties: Settings, inputs: readonly ExampleRows[], threads?: number): Promise<ExampleRows[]>;
  /** Each output's rows, from a run of the executor's engine. */
  run(type: string, properties: Settings, inputs: readonly ExampleRows[]): Promise<ExampleRows[]>;
  /** The same of a plan whose last operator is called "op", over inputs that its scans name "in0", "in1", … */
  runPlan(plan: LogicalPlan, inputs: readonly ExampleRows[]): Promise<ExampleRows[]>;
  /** The query of each output. */
  statements(type: string, properties: Settings, inputs: readonly ExampleRows[]): Promise<string[]>;
  /** Rows as a run would give them: numbers of the column's type, timestamps and bytes in one spelling. */
  spelt(rows: ExampleRows): Promise<ExampleRows>;
  close(): void;
}

export async function operatorRuns(): Promise<OperatorRuns> {
  const binder = await createSchemaBinder();
  const files = scratch();
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  await connection.run("SET TimeZone = 'UTC'");
  let runs = 0;

  const compilePlan = (plan: LogicalPlan, datasets: ReadonlyMap<string, DatasetScan>): Promise<Compilation> =>
    compile(plan, {
      resolveDataset: async (reference) => datasets.get(reference),
      bindSchemas: binder.bindSchemas,
      planDigest,
    });
  const compileOne: OperatorRuns["compile"] = (type, properties, inputs) => {
    const { plan, datasets } = drawn(type, properties, inputs, files.directory);
    return compilePlan(plan, datasets);
  };
  const planOrThrow = (result: Compilation): PhysicalPlan => {
    if (!result.ok) throw new Error(result.diagnostics.map((d) => `${d.property}: ${d.message}`).join("\n"));
    return result.plan;
  };
  const compiled = async (...args: Parameters<typeof compileOne>) => planOrThrow(await compileOne(...args));
  const write = async (inputs: readonly ExampleRows[]) => {
    for (const [i, input] of inputs.entries()) {
      await fill(connection, `input${i}`, input);
      // Text within a file of a dataset is no JSON unless the file says so.
      const items = input.schema.map(
        ({ name, type }) => `${quoteName(name)}${type === "any" ? "::JSON" : ""} AS ${quoteName(name)}`,
      );
      const rows = `SELECT ${items.join()} FROM input${i}`;
      await connection.run(`COPY (${rows}) TO ${quoteText(fileOf(files.directory, i))} (FORMAT parquet)`);
    }
  };
  const runPhysical = async (plan: PhysicalPlan): Promise<ExampleRows[]> => {
    const directory = join(files.directory, `run-${runs++}`);
    mkdirSync(directory);
    const { manifest, state } = await ran(plan, {
      resultPrefix: `${pathToFileURL(directory).href}/`,
      workDirectory: directory,
    });
    if (state !== "COMPLETED") throw new Error(`${state}: ${manifest.failure?.message}`);
    const results: ExampleRows[] = [];
    for (const { key, schema } of plan.operators.find(({ operatorId }) => operatorId === "op")!.outputs) {
      const port = manifest.ports.find((one) => one.key?.operatorId === "op" && one.key.portId === key.portId);
      if (!port) throw new Error(`Output ${key.portId} was not written.`);
      const file = quoteText(new URL(port.uri).pathname);
      const rows = await (await connection.run(`SELECT * FROM read_parquet(${file})`)).getRowsJson();
      results.push({ schema, rows: rows.map((row) => row.map((value, i) => inJson(value, schema[i]!.type))) });
    }
    return results;
  };
  const statements = async (...args: Parameters<typeof compileOne>): Promise<{ sql: string; schema: Schema }[]> => {
    const plan = await compiled(...args);
    const { implementation, outputs } = plan.operators.find(({ operatorId }) => operatorId === "op")!;
    if (implementation.kind !== "query") throw new Error(`${args[0]} is no query.`);
    const selects = [implementation.sql, ...implementation.furtherSql];
    return outputs.map(({ schema }, i) => ({ schema, sql: castTo(schema, selects[i]!) }));
  };

  return {
    compile: compileOne,
    async statements(...args) {
      return (await statements(...args)).map(({ sql }) => sql);
    },
    async findings(...args) {
      const result = await compileOne(...args);
      return result.ok ? [] : result.diagnostics.map(({ property, message }) => `${property}: ${message}`);
    },
    async queried(type, properties, inputs, threads = 2) {
      const selects = await statements(type, properties, inputs);
      await connection.run(`SET threads = ${threads}`);
      for (const [i, input] of inputs.entries()) await fill(connection, `input${i}`, input);
      const results: ExampleRows[] = [];
      for (const { schema, sql } of selects) {
        const rows = await (await connection.run(sql)).getRowsJson();
        results.push({ schema, rows: rows.map((row) => row.map((value, c) => inJson(value, schema[c]!.type))) });
      }
      return results;
    },
    async run(type, properties, inputs) {
      await write(inputs);
      return runPhysical(await compiled(type, properties, inputs));
    },
    async runPlan(plan, inputs) {
      await write(inputs);
      const datasets = new Map(scansOf(inputs, files.directory).map((scan) => [scan.datasetName, scan]));
      return runPhysical(planOrThrow(await compilePlan(plan, datasets)));
    },
    async spelt(rows) {
      await fill(connection, "spelt", rows);
      const found = await (await connection.run("SELECT * FROM spelt")).getRowsJson();
      return { ...rows, rows: found.map((row) => row.map((value, i) => inJson(value, rows.schema[i]!.type))) };
    },
    close() {
      connection.closeSync();
      instance.closeSync();
      files.remove();
      void binder.close();
    },
  };
}

/** Rows in an order that does not depend on how they came. */
export const asSet = (rows: readonly Json[][]): Json[][] =>
  [...rows].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

/** The definition of a type. */
export function definitionOf(type: string): OperatorDefinition {
  const definition = OPERATOR_TYPES.get(type);
  if (!definition) throw new Error(`There is no type ${type}.`);
  return definition;
}

const fileOf = (directory: string, i: number): string => join(directory, `input${i}.parquet`);

const scansOf = (inputs: readonly ExampleRows[], directory: string): DatasetScan[] =>
  inputs.map(({ schema, rows }, i) => ({
    ...dataset(`in${i}`, schema),
    uri: pathToFileURL(fileOf(directory, i)).href,
    rowCount: BigInt(rows.length),
    byteCount: 0n,
  }));

/** Scans of the inputs and the operator behind them; a scan itself reads the file of its rows. */
function drawn(
  type: string,
  properties: Settings,
  inputs: readonly ExampleRows[],
  directory: string,
): { plan: LogicalPlan; datasets: Map<string, DatasetScan> } {
  const scans = scansOf(inputs, directory);
  const operator = (id: string, ofType: string, settings: Settings) => ({
    id,
    type: ofType,
    properties: settings as Properties,
    displayName: "",
    disabled: false,
    viewResult: id === "op",
  });
  const isScan = type === "scan";
  const sources = isScan ? [] : scans.map(({ datasetName }) => operator(datasetName, "scan", { dataset: datasetName }));
  return {
    plan: {
      operators: [...sources, operator("op", type, properties)],
      links: sources.map(({ id }, toPort) => ({ from: id, fromPort: 0, to: "op", toPort })),
    },
    datasets: new Map(scans.map((scan) => [isScan ? String(properties.dataset) : scan.datasetName, scan])),
  };
}

async function fill(connection: DuckDBConnection, table: string, { schema, rows }: ExampleRows): Promise<void> {
  await connection.run(`DROP TABLE IF EXISTS ${table}`);
  await connection.run(createTable(table, schema));
  for (let at = 0; at < rows.length; at += 1_000) {
    const values = rows
      .slice(at, at + 1_000)
      .map((row) => `(${row.map((v, i) => literal(v, schema[i]!.type)).join()})`);
    await connection.run(`INSERT INTO ${quoteName(table)} VALUES ${values.join()}`);
  }
}

function literal(value: Json, type: string): string {
  if (value === null) return "NULL";
  if (type === "any") return quoteText(JSON.stringify(value));
  const text = quoteText(String(value));
  if (type === "timestamp") return `timezone('UTC', CAST(${text} AS TIMESTAMPTZ))`;
  return type === "binary" ? `from_hex(${text})` : text;
}

/** A value of a result as an example writes it. Doubles are rounded: their last digits depend on the order of adding. */
function inJson(value: DuckDBJson, type: string): Json {
  if (value === null) return null;
  if (type === "any") return JSON.parse(String(value));
  if (type === "timestamp") return `${String(value).replace(" ", "T")}Z`;
  if (type === "binary") return String(value).replace(/\\x([0-9A-F]{2})|(.)/gs, (_, hex, one) => hex ?? hexOf(one));
  if (type === "double" && typeof value === "number") return Number(value.toPrecision(12));
  if (type === "long" && Number.isSafeInteger(Number(value))) return Number(value);
  return value as Json;
}

const hexOf = (character: string): string => character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0");
