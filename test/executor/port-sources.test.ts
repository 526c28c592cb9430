import { expect } from "chai";
import { globalPortId, type OutputPort } from "../../src/core/plan.js";
import type { PortAnswer } from "../../src/executor/cache/port-answer.js";
import { noCache } from "../../src/executor/cache/port-cache.js";
import { portGraph } from "../../src/executor/run/agenda.js";
import { createPortSources } from "../../src/executor/run/port-sources.js";
import type { RunPorts, StoredResult } from "../../src/executor/run/run-ports.js";
import { columns, outputKey, planOf, query, scan } from "../support/physical-plans.js";

const N = columns("n:long");
const id = (operatorId: string) => globalPortId(outputKey(operatorId));
const rows = (byteCount: bigint, computeMs: bigint): StoredResult => ({
  uri: "",
  tupleCount: 1n,
  byteCount,
  computeMs,
});

describe("where a run has its ports from", () => {
  it("is decided once: what it began to compute is not taken from the cache halfway, whatever comes to be known", async () => {
    const draft = (name: string) => ({
      ...query(name, "derive", [N], "select * from input0", N),
      materialized: true,
      subdagHash: Buffer.from(name.padEnd(32, ".")).toString("hex"),
    });
    const plan = planOf(
      [scan("s", N, { uri: "file:///n.csv" }), draft("a"), draft("b"), draft("c")],
      ["s>a", "a>b", "b>c"],
      ["0: s a", "1: b", "2: c"],
    );
    for (const { outputs } of plan.operators) for (const port of outputs) port.viewed = port.key.operatorId === "c";
    const there = new Map<string, StoredResult>();
    const taken: string[] = [];
    const ports = {
      brokenUris: [],
      there: () => new Set(there.keys()),
      storedOf: (port: string) => there.get(port),
      async takeOver({ key }: OutputPort, result: StoredResult) {
        there.set(globalPortId(key), result);
        return taken.push(key.operatorId) > 0;
      },
      addReused: () => ({}),
    } as unknown as RunPorts;
    const hit = {
      kind: "hit",
      result: { ...rows(4_000_000n, 0n), sourceExecutionId: "", uri: "file:///b" },
    } as PortAnswer;
    const sources = createPortSources({
      graph: portGraph(plan),
      spec: { lastRun: [] },
      ports,
      cache: {
        ...noCache("The test has none."),
        lookUp: async (asked) =>
          new Map(asked.map((port) => [port, port === id("b") ? hit : { kind: "compute", reason: "none" }])),
      },
      report: { port: async () => {} },
      stop: new AbortController().signal,
      onNews: () => {},
    });
    expect((await sources.settle()).own.has(id("b")), "computing looks cheaper than reading").to.equal(true);
    const before = sources.decisions().find(({ globalPortId: port }) => port === id("b"));
    expect(before?.readMs).to.be.greaterThan(before!.recomputeMs);
    // What it is computed from turns out large, so that reading the hit would have been cheaper.
    there.set(id("a"), rows(400_000_000n, 60_000n));
    expect((await sources.settle()).own.has(id("b"))).to.equal(true);
    expect(taken).to.deep.equal([]);
    expect(sources.decisions().find(({ globalPortId: port }) => port === id("b"))).to.deep.equal(before);
  });

  it("names no more broken objects in one call than a server takes", async () => {
    const plan = planOf(
      [{ ...query("a", "derive", [], "select 1 as n", N), materialized: true, subdagHash: "ab" }],
      [],
    );
    const told: number[] = [];
    const sources = createPortSources({
      graph: portGraph(plan),
      spec: { lastRun: [] },
      ports: {
        brokenUris: Array.from({ length: 1_500 }, (_, i) => `file:///${i}`),
        there: () => new Set(),
        storedOf: () => undefined,
      } as unknown as RunPorts,
      cache: {
        ...noCache("The test has none."),
        async lookUp(asked, { brokenUris, signal }) {
          told.push(brokenUris.length);
          return noCache("").lookUp(asked, { brokenUris, signal });
        },
      },
      report: { port: async () => {} },
      stop: new AbortController().signal,
      onNews: () => {},
    });
    await sources.settle();
    expect(told).to.deep.equal([1_000]);
  });
});
