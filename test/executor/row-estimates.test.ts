// Rows of operators fused into a query are estimated while it runs: told as estimates, bounded, and gone at the end.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import fc from "fast-check";
import { ExecutionState, OperatorStatistics, RunState } from "../../src/contract/postern/v1/execution.js";
import { expectedRows } from "../../src/core/expected-rows.js";
import { globalPortId, operatorKey, type PhysicalPlan } from "../../src/core/plan.js";
import type { FusedQuery } from "../../src/executor/run/query-profile.js";
import { createRowEstimates } from "../../src/executor/run/row-estimates.js";
import type { RunControl } from "../../src/executor/run/run-control.js";
import type { EventKind } from "../../src/executor-session/session-api.js";
import {
  columns,
  type OperatorDraft,
  outputKey,
  planOf,
  query,
  scan,
  userFunction,
} from "../support/physical-plans.js";
import { type Ran, ran, scratch } from "../support/plan-runs.js";
import { until } from "../support/until.js";

const KV = columns("k:long v:long");
const viewed = (draft: OperatorDraft): OperatorDraft => ({ ...draft, materialized: true });
const port = (id: string, n = 0) => globalPortId(outputKey(id, n));

describe("estimates of rows", () => {
  const file = scan("s", KV, { uri: "file:///s.csv", rowCount: 1_000n });
  const two = { ...query("two", "split", [KV], "", KV), furtherOutputs: [KV] };
  const groups = { ...query("g", "aggregate", [KV], "", KV), blocking: true };
  const plan = planOf(
    [file, query("f", "filter", [KV], "", KV), two, groups, query("after", "derive", [KV], "", KV)],
    ["s>f", "f>two", "two:0>g", "g>after"],
  );
  plan.operators[3]!.properties = { groupBy: ["k"] };
  const NOTHING = { plan, known: new Map<string, bigint>(), usual: new Map() };
  const feeds: Record<string, string> = {
    [port("f")]: port("s"),
    [port("two", 0)]: port("f"),
    [port("two", 1)]: port("f"),
  };
  feeds[port("g")] = port("two", 0);
  feeds[port("after")] = port("g");
  /** A query of these ports; what else they read it reads from files. */
  const fusedOf = (...ids: string[]): Pick<FusedQuery, "ports"> => ({
    ports: new Map(
      ids.map((id) => {
        const from = feeds[id] ?? "";
        return [id, { operatorType: "", inputs: [[ids.includes(from) ? { port: from } : { leaf: from }]] }];
      }),
    ),
  });
  const half = { read: 0.5, gathered: 0 };

  it("are the share of what is expected, of each operator of the query and of no other", () => {
    const estimates = createRowEstimates(NOTHING);
    estimates.reached(fusedOf(port("s"), port("f")), half);
    expect(estimates.of("s/main")).to.deep.equal({ inputRows: undefined, outputRows: 500n });
    expect(estimates.of("f/main")).to.deep.equal({ inputRows: 500n, outputRows: 167n });
    expect(estimates.of("two/main")).to.deep.equal({ inputRows: undefined, outputRows: undefined });
  });

  it("of what is gathered first, and of what follows, begin when all has been read", () => {
    const estimates = createRowEstimates({ ...NOTHING, known: new Map([[port("two", 0), 400n]]) });
    const all = fusedOf(...[port("after"), port("g"), port("two", 0), port("f"), port("s")]);
    estimates.reached(all, half);
    expect(estimates.of("g/main")).to.deep.equal({ inputRows: 200n, outputRows: 0n });
    expect(estimates.of("after/main")).to.deep.equal({ inputRows: 0n, outputRows: 0n });
    estimates.reached(all, { read: 1, gathered: 0.5 });
    expect(estimates.of("s/main").outputRows).to.equal(1_000n);
    expect(estimates.of("g/main")).to.deep.equal({ inputRows: 400n, outputRows: 20n });
    expect(estimates.of("after/main")).to.deep.equal({ inputRows: 20n, outputRows: 20n });
    const next = createRowEstimates({ ...NOTHING, known: new Map([[port("g"), 40n]]) });
    next.reached(fusedOf(port("after")), half);
    expect(next.of("after/main"), "read from a file").to.deep.equal({ inputRows: 20n, outputRows: 20n });
  });

  it("of several ports add up as queries compute them", () => {
    const estimates = createRowEstimates({ ...NOTHING, known: new Map([[port("f"), 300n]]) });
    estimates.reached(fusedOf(port("two", 0)), { read: 1, gathered: 1 });
    expect(estimates.of("two/main")).to.deep.equal({ inputRows: 300n, outputRows: 100n });
    estimates.reached(fusedOf(port("two", 1)), half);
    expect(estimates.of("two/main")).to.deep.equal({ inputRows: 300n, outputRows: 200n });
  });

  it("never fall, and never exceed what was expected at first, whatever shares and counts come", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    const step = fc.record({
      ports: fc.subarray([port("s"), port("f"), port("two", 0), port("two", 1), port("g"), port("after")]),
      stages: fc.record({ read: share, gathered: share }),
      counted: fc.option(fc.tuple(fc.constantFrom(port("s"), port("f"), port("two", 0)), fc.bigInt(0n, 5_000n))),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const known = new Map<string, bigint>();
        const estimates = createRowEstimates({ ...NOTHING, known });
        const most = new Map<string, number>();
        const former = new Map<string, bigint>();
        for (const { ports, stages, counted } of steps) {
          const expected = expectedRows(plan, { known, usual: new Map() });
          estimates.reached(fusedOf(...ports), stages);
          for (const operator of plan.operators) {
            const key = operatorKey(operator);
            const { inputRows = 0n, outputRows } = estimates.of(key);
            if (outputRows === undefined) continue;
            const outputs = operator.outputs.map((output) => expected.get(globalPortId(output.key))!);
            if (!most.has(key))
              most.set(
                key,
                outputs.reduce((sum, one) => sum + one, 0),
              );
            expect(Number(outputRows)).to.be.at.most(most.get(key)!);
            expect(outputRows + inputRows >= (former.get(key) ?? 0n)).to.equal(true);
            former.set(key, outputRows + inputRows);
          }
          if (counted) known.set(...counted);
        }
      }),
    );
  });

  it("end with their operator", () => {
    const estimates = createRowEstimates(NOTHING);
    estimates.reached(fusedOf(port("f")), half);
    estimates.forget("f/main");
    expect(estimates.of("f/main").outputRows).to.equal(undefined);
  });
});

describe("a long query", function () {
  this.timeout(120_000);
  const ROWS = 12_000_000n;
  let place: ReturnType<typeof scratch>;
  let runs = 0;
  before(async () => {
    place = scratch();
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const copy = (sql: string, name: string) =>
      connection.run(`copy (${sql}) to '${join(place.directory, name)}.parquet' (format parquet)`);
    await copy(`select (hash(range) % 200000)::bigint k, range::bigint v from range(${ROWS})`, "facts");
    await copy("select range::bigint k, (range % 5000)::bigint v from range(200000)", "names");
    connection.closeSync();
    instance.closeSync();
  });
  after(() => place.remove());

  const parquet = (id: string, rowCount: bigint) =>
    scan(id, KV, {
      uri: pathToFileURL(join(place.directory, `${id}.parquet`)).href,
      format: { kind: "parquet", delimiter: "", header: undefined, encoding: "" },
      rowCount,
    });
  const FUSED = ["facts", "names", "keep", "joined", "groups"];
  /** Scan, filter, join and aggregate in one query; slow enough to be watched, also on a fast machine. */
  function fused(last = "select v % 3000000, count(distinct k) from input0 group by all"): PhysicalPlan {
    const plan = planOf(
      [
        parquet("facts", ROWS),
        parquet("names", 200_000n),
        query("keep", "filter", [KV], "select * from input0 where v % 3 <> 1", KV),
        query("joined", "join", [KV, KV], "select l.k, l.v from input0 l join input1 r on l.k = r.k", KV),
        { ...viewed(query("groups", "aggregate", [KV], last, KV)), blocking: true },
      ],
      ["facts>keep", "keep>joined:0", "names>joined:1", "joined>groups"],
    );
    plan.operators.at(-1)!.properties = { groupBy: ["v"] };
    return plan;
  }
  const run = (plan: PhysicalPlan, more: Partial<Parameters<typeof ran>[1]> = {}): Promise<Ran> =>
    ran(plan, {
      resultPrefix: `${pathToFileURL(join(place.directory, `run-${runs++}`)).href}/`,
      workDirectory: place.directory,
      ...more,
    });
  const figuresOf = (events: EventKind[], id: string): OperatorStatistics[] =>
    events.flatMap((e) => (e.$case === "operatorStatistics" && e.value.operatorId === id ? [e.value] : []));
  const isLive = ({ state }: OperatorStatistics) => state === RunState.RUN_STATE_RUNNING;
  const hasEstimate = ({ estimatedInputRows, estimatedOutputRows }: OperatorStatistics) =>
    estimatedInputRows !== undefined || estimatedOutputRows !== undefined;
  const rises = (rows: (bigint | undefined)[]) =>
    rows.every((count, n) => count !== undefined && (n === 0 || count >= rows[n - 1]!));

  it("tells rows of every operator twice a second, growing, never above what is expected, and no estimate at the end", async () => {
    const plan = fused();
    const usual = [
      OperatorStatistics.fromPartial({ operatorId: "keep", layer: "main", inputRows: 100n, outputRows: 50n }),
      OperatorStatistics.fromPartial({ operatorId: "joined", layer: "main", inputRows: 100n, outputRows: 90n }),
    ];
    const { manifest, events } = await run(plan, { spec: { usual } });
    expect(manifest.failure).to.equal(undefined);
    const expected = expectedRows(plan, {
      known: new Map(),
      usual: new Map(
        usual.map(({ inputRows, outputRows, operatorId }) => [`${operatorId}/main`, { inputRows, outputRows }]),
      ),
    });
    expect(Number(expected.get(port("keep"))), "as usual").to.equal(6_000_000);
    for (const id of FUSED) {
      const told = figuresOf(events, id);
      const live = told.slice(
        told.findIndex(hasEstimate),
        told.findIndex((figures) => !isLive(figures)),
      );
      const { busyMs } = manifest.statistics.find(({ operatorId }) => operatorId === id)!;
      expect(live.length, `${id} in ${busyMs} ms`).to.be.at.least(Math.max(1, Math.floor(Number(busyMs) / 1_000) - 1));
      const outputs = live.map(({ estimatedOutputRows }) => estimatedOutputRows);
      expect(rises(outputs), `${id}: ${outputs}`).to.equal(true);
      expect(Number(outputs.at(-1))).to.be.within(id === "groups" ? 0 : 1, expected.get(port(id))!);
      for (const { inputRows, outputRows } of live)
        expect([inputRows, outputRows], id).to.deep.equal([undefined, undefined]);
      if (id === "facts" || id === "names") continue;
      expect(rises(live.map(({ estimatedInputRows }) => estimatedInputRows)), id).to.equal(true);
    }
    const ended = [
      ...manifest.statistics,
      ...events.flatMap((e) => (e.$case === "operatorStatistics" ? [e.value] : [])),
    ];
    for (const figures of ended) if (!isLive(figures)) expect(hasEstimate(figures), figures.operatorId).to.equal(false);
    for (const { estimatedInputRows: read, estimatedOutputRows: gave } of figuresOf(events, "keep"))
      if (read !== undefined && read > 1_000n)
        expect(Number(gave) / Number(read), "as usual").to.be.closeTo(0.5, 0.001);
    expect(readFileSync(new URL(manifest.statisticsUri), "utf8"), "the log of figures").to.not.include("estimated");
    const last = manifest.statistics.find(({ operatorId }) => operatorId === "groups")!;
    expect(last).to.include({ outputRows: 3_000_000n - 1_000_000n, state: RunState.RUN_STATE_COMPLETED });
  });

  it("that is killed, or fails, leaves no estimate behind, nor bytes of a file that is gone", async () => {
    const stopped = new AbortController();
    const killed = await run(fused(), {
      signal: stopped.signal,
      onFigures: (figures) => {
        if (hasEstimate(figures) && figures.estimatedOutputRows! > 0n) stopped.abort();
      },
    });
    const wrong = "select k, (case when k = 199999 and v > 11000000 then error('no') else v end)::bigint from input0";
    const failed = await run(fused(wrong));
    expect([killed.state, failed.state]).to.deep.equal(["KILLED", "FAILED"]);
    for (const { manifest, events } of [killed, failed])
      for (const id of FUSED) {
        const final = manifest.statistics.find(({ operatorId }) => operatorId === id)!;
        for (const figures of [final, figuresOf(events, id).at(-1)!]) {
          expect(isLive(figures), id).to.equal(false);
          expect(hasEstimate(figures), id).to.equal(false);
          expect([figures.inputRows, figures.outputRows, figures.outputBytes], id).to.deep.equal([
            undefined,
            undefined,
            0n,
          ]);
        }
      }
  });

  it("tells the bytes of its file as it grows, also when a pause makes it begin anew, and exactly at the end", async () => {
    let control: RunControl | undefined;
    const plan = planOf(
      [
        parquet("facts", ROWS),
        viewed(query("all", "derive", [KV], "select k, ('0x' || md5(v::varchar)[1:8])::bigint from input0", KV)),
      ],
      ["facts>all"],
    );
    const said: OperatorStatistics[] = [];
    const states: string[] = [];
    const running = run(plan, {
      onControl: (given) => {
        control = given;
      },
      onFigures: (figures) => {
        if (figures.operatorId === "all") said.push(figures);
      },
      onEvent: (kind) => {
        if (kind.$case === "executionState") states.push(ExecutionState[kind.value.state]!.slice(16));
      },
    });
    await until(() => said.some(({ outputBytes }) => outputBytes > 0n));
    control!.pauseRun();
    await until(() => states.at(-1) === "PAUSED");
    control!.resumeRun();
    const { manifest, state } = await running;
    expect(state).to.equal("COMPLETED");
    const { byteCount } = manifest.ports[0]!;
    const final = manifest.statistics.find(({ operatorId }) => operatorId === "all")!;
    expect(final).to.include({ outputBytes: byteCount, inputRows: ROWS, outputRows: ROWS });
    expect(said.at(-1)!.outputBytes).to.equal(byteCount);
    for (const { outputBytes } of said) expect(outputBytes <= byteCount).to.equal(true);
    const estimates = said
      .filter(isLive)
      .flatMap(({ estimatedOutputRows: rows }) => (rows === undefined ? [] : [rows]));
    expect(rises(estimates), "not even when it begins anew").to.equal(true);
  });

  it("that feeds a function counts what it gives, and estimates what its operators before that give", async () => {
    const plan = planOf(
      [
        parquet("facts", ROWS),
        query("some", "filter", [KV], "select * from input0 where v % 40 = 0", KV),
        query("next", "derive", [KV], "select k, v + 1 from input0", KV),
        viewed(userFunction("same", "javascript", KV, "const processTuple = (t) => t;", KV)),
      ],
      ["facts>some", "some>next", "next>same"],
    );
    const { manifest, events } = await run(plan);
    expect(manifest.failure).to.equal(undefined);
    const given = ROWS / 40n;
    const next = figuresOf(events, "next");
    expect(rises(next.map(({ outputRows }) => outputRows))).to.equal(true);
    for (const { outputRows, estimatedOutputRows } of next) {
      expect(estimatedOutputRows).to.equal(undefined);
      expect(outputRows! <= given).to.equal(true);
    }
    const some = figuresOf(events, "some").filter(isLive);
    expect(some.some(hasEstimate)).to.equal(true);
    expect(figuresOf(events, "same").some(hasEstimate), "functions count").to.equal(false);
    const rowsOf = Object.fromEntries(manifest.statistics.map((s) => [s.operatorId, s.outputRows]));
    expect(rowsOf).to.include({ facts: ROWS, next: given, same: given });
  });
});
