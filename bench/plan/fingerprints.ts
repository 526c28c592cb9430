// What fingerprinting a plan costs. Beside it, in the same run: JSON.stringify and SHA-256 of the same values alone,
// which is less than any fingerprint can cost, because these values are already in canonical order and nobody asks
// which feeds which.
import { createHash } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Fingerprint, fingerprints } from "../../src/core/fingerprint.js";
import {
  ATTRIBUTE_TYPES,
  type Implementation,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  type Properties,
  type Schema,
} from "../../src/core/plan.js";
import { atMost } from "../figure.js";
import { median, spread } from "../statistics.js";
import type { FigureGroup } from "./figure-group.js";
import { createRandom } from "./random-plans.js";

const OPERATORS = 5_000;
const ROUNDS = 20;
/** Passed over: the compiler of the engine is still at work. */
const WARM_UP = 5;

/** Fingerprints of all ports of 5,000 operators, and what twice as many take by them. */
export const fingerprintFigures: FigureGroup = {
  figures: ["fingerprints", "fingerprints-growth"],
  async *measure({ note }) {
    const [once, twice] = [planOf(OPERATORS), planOf(2 * OPERATORS)];
    const texts = (plan: PhysicalPlan) => [...fingerprints(plan).values()].map(jsonOf);
    const parsed = (plan: PhysicalPlan) => texts(plan).map((text) => JSON.parse(text) as unknown);
    const [values, twiceTheValues] = [parsed(once), parsed(twice)];
    const bytes = texts(once).reduce((all, text) => all + Buffer.byteLength(text), 0);
    const [one, two, bare, bareTwo]: [number[], number[], number[], number[]] = [[], [], [], []];
    for (let round = -WARM_UP; round < ROUNDS; round++) {
      // Side by side, so that whatever else the machine does falls on all of them.
      const taken = [
        timeMs(() => fingerprints(once)),
        timeMs(() => fingerprints(twice)),
        timeMs(() => values.map(bareHash)),
        timeMs(() => twiceTheValues.map(bareHash)),
      ];
      if (round < 0) continue;
      for (const [i, times] of [one, two, bare, bareTwo].entries()) times.push(taken[i]!);
    }
    note(
      `fingerprints: ${spread(one)} ms for ${OPERATORS} operators (${Math.round(bytes / OPERATORS)} bytes each), ` +
        `${spread(two)} ms for twice as many; stringify and SHA-256 alone ${spread(bare)} ms`,
    );
    yield {
      figure: "fingerprints",
      value: median(one),
      unit: "ms",
      yardstick: median(bare),
      bound: atMost(60),
    };
    yield {
      figure: "fingerprints-growth",
      value: growth(one, two),
      unit: "times",
      yardstick: growth(bare, bareTwo),
      bound: atMost(2.3),
    };
  },
};

/** How many times as long the second takes as the first, in the middle one of the rounds. */
const growth = (once: readonly number[], twice: readonly number[]): number =>
  median(once.map((ms, round) => twice[round]! / ms));

const bareHash = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

const jsonOf = (print: Fingerprint): string => ("json" in print ? print.json : "");

/** Milliseconds, from a heap in which nothing of an earlier round is left to be collected. */
function timeMs(work: () => unknown): number {
  collectGarbage();
  const from = performance.now();
  work();
  return performance.now() - from;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const portKey = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});

/** A plan as the compiler gives it: every tenth operator a scan, the others mostly read what came just before. */
function planOf(size: number): PhysicalPlan {
  const random = createRandom(size);
  const below = (n: number) => Math.floor(random() * n);
  const operators: PhysicalOperator[] = [];
  const links: PhysicalPlan["links"] = [];
  for (let i = 0; i < size; i++) {
    const id = `operator-${i}`;
    const sources = i % 10 === 0 ? [] : i % 7 === 0 ? [i - 1, below(i)] : [i - 1];
    const schema: Schema = Array.from({ length: 4 + below(9) }, (_, c) => ({
      name: `column_${c}`,
      type: ATTRIBUTE_TYPES[c % ATTRIBUTE_TYPES.length]!,
    }));
    for (const [port, source] of sources.entries())
      links.push({
        id: `operator-${source}.0-${id}.${port}`,
        from: portKey(`operator-${source}`, 0, false),
        to: portKey(id, port, true),
        materialized: false,
        mustMaterialize: false,
        why: "",
      });
    operators.push({
      operatorId: id,
      layer: "main",
      ...work(i, sources.length, schema),
      displayName: id,
      inputs: sources.map((_, port) => ({
        key: portKey(id, port, true),
        schema,
        dependsOn: [],
        manyLinks: false,
        partition: { kind: "none" },
      })),
      outputs: [
        {
          key: portKey(id, 0, false),
          schema,
          blocking: false,
          mode: "set-delta",
          materialized: false,
          viewed: false,
          subdagHash: "",
          uncacheableReason: "",
        },
      ],
    });
  }
  return { format: 1, operators, links, regions: [] };
}

function work(
  i: number,
  inputs: number,
  fileSchema: Schema,
): { type: string; properties: Properties; implementation: Implementation } {
  if (inputs === 0)
    return {
      type: "scan",
      properties: { dataset: `dataset-${i}` },
      implementation: {
        kind: "scan",
        scan: {
          datasetId: "",
          datasetName: "",
          version: 1,
          contentHash: `content ${i}`,
          uri: "",
          format: { kind: "parquet", delimiter: "", header: undefined, encoding: "" },
          rowCount: 1n,
          byteCount: 1n,
          fileSchema,
          offset: 0n,
          limit: undefined,
          malformedRows: "fail",
        },
      },
    };
  const query: Implementation = { kind: "query", sql: "", furtherSql: [] };
  if (inputs === 2)
    return {
      type: "join",
      properties: { type: "inner", on: [{ left: "column_0", right: "column_0" }] },
      implementation: query,
    };
  if (i % 10 === 9) {
    const code = `function processTuple(tuple) {\n  return { column_1: tuple.column_1 + ${i} };\n}\n`;
    return {
      type: "javascript-function",
      properties: {
        code,
        outputColumns: [{ name: "column_1", type: "long" }],
        retainInputColumns: true,
        environment: {},
        call: "tuple",
      },
      implementation: {
        kind: "user-function",
        userFunction: {
          language: "javascript",
          code,
          entryPoint: "processTuple",
          retainInputColumns: true,
          environment: {},
          call: "tuple",
        },
      },
    };
  }
  return i % 2 === 0
    ? { type: "filter", properties: { predicate: `column_1 > ${i}` }, implementation: query }
    : {
        type: "aggregate",
        properties: {
          groupBy: ["column_0"],
          aggregates: [{ function: "sum", column: "column_1", as: `sum_${i}` }],
        },
        implementation: query,
      };
}
