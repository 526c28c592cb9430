// Functions that run side by side, and what a pause does to work that is under way.
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { ExecutionState, RunState } from "../../src/contract/postern/v1/execution.js";
import type { RunControl } from "../../src/executor/run/run-control.js";
import type { EventKind } from "../../src/executor-session/session-api.js";
import { columns, type OperatorDraft, planOf, query, scan, userFunction } from "../support/physical-plans.js";
import { ran, rowsOf, scratch } from "../support/plan-runs.js";
import { until } from "../support/until.js";

const N = columns("n:long");
const viewed = (draft: OperatorDraft): OperatorDraft => ({ ...draft, materialized: true });
const js = (id: string, code: string) => userFunction(id, "javascript", N, code, N);
const passOn = (id: string) => js(id, "const processTuple = (t) => t;");

describe("a run", () => {
  let place: ReturnType<typeof scratch>;
  let results: string;
  let options: { resultPrefix: string; workDirectory: string };
  beforeEach(() => {
    place = scratch();
    results = join(place.directory, "results");
    options = { resultPrefix: `${pathToFileURL(results).href}/1/`, workDirectory: place.directory };
  });
  afterEach(() => place.remove());

  const numbers = (count: number) => {
    const path = join(place.directory, "n.csv");
    writeFileSync(path, `n\n${Array.from({ length: count }, (_, i) => i).join("\n")}\n`);
    return scan("numbers", N, { uri: pathToFileURL(path).href });
  };
  const linesOf = (events: EventKind[]) =>
    events.flatMap((e) => (e.$case === "consoleMessage" ? [`${e.value.operatorId}: ${e.value.text}`] : []));
  const statesOf = (events: EventKind[]) =>
    events.flatMap((e) => (e.$case === "executionState" ? [ExecutionState[e.value.state]!.slice(16)] : []));

  it("hands rows from one function to the next while both work, in order and without loss", async () => {
    const count = 100_000;
    const first = `function processTuple(t) { if (t.n === ${count - 1}) console.log("the last row"); return t; }`;
    const second = `function processTuple(t) { if (t.n === 0) console.log("the first row"); return { n: t.n * 2 }; }`;
    const plan = planOf(
      [numbers(count), js("first", first), js("second", second), viewed(passOn("third"))],
      ["numbers>first", "first>second", "second>third"],
    );
    const { manifest, events, fileOf } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(linesOf(events)).to.deep.equal(["second: the first row", "first: the last row"]);
    const check = "select count(*), sum(n), count(*) filter (n = 2 * file_row_number) from ?";
    const file = `read_parquet('${fileOf("third")}', file_row_number = true)`;
    expect(await rowsOf(fileOf("third"), check.replace("?", file))).to.deep.equal([
      [String(count), String(count * (count - 1)), String(count)],
    ]);
    for (const id of ["first", "second", "third"])
      expect(manifest.statistics.find(({ operatorId }) => operatorId === id)).to.include({
        inputRows: BigInt(count),
        outputRows: BigInt(count),
        state: RunState.RUN_STATE_COMPLETED,
      });
  }).timeout(60_000);

  it("stops the functions beside the one that fails, and names that one", async () => {
    const fails = `function processTuple(t) { if (t.n === 5000) throw new Error("enough"); return t; }`;
    const plan = planOf(
      [numbers(200_000), passOn("before"), js("fails", fails), viewed(passOn("after"))],
      ["numbers>before", "before>fails", "fails>after"],
    );
    const { manifest } = await ran(plan, options);
    expect(manifest.failure).to.include({ reason: "USER_CODE_ERROR", operatorId: "fails" });
    expect(manifest.failure?.message).to.match(/at input row 5001: .*enough/);
    const states = Object.fromEntries(manifest.statistics.map((s) => [s.operatorId, s.state]));
    expect(states).to.include({
      before: RunState.RUN_STATE_KILLED,
      fails: RunState.RUN_STATE_FAILED,
      after: RunState.RUN_STATE_KILLED,
    });
    expect(readdirSync(join(results, "1"))).to.deep.equal(["statistics.jsonl"]);
  }).timeout(60_000);

  it("calls a function once that two others and a query read", async () => {
    const once = `function processTuple(t) { console.log("row", t.n); return t; }`;
    const plan = planOf(
      [
        numbers(3),
        js("once", once),
        viewed(passOn("a")),
        viewed(passOn("b")),
        viewed(query("c", "filter", [N], "select * from input0 where n > 0", N)),
      ],
      ["numbers>once", "once>a", "once>b", "once>c"],
    );
    const { manifest, events } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(linesOf(events)).to.deep.equal(["once: row 0", "once: row 1", "once: row 2"]);
    expect(manifest.ports.map((p) => p.rowCount)).to.deep.equal([3n, 3n, 2n]);
  }).timeout(30_000);

  describe("that is paused", () => {
    let control: RunControl;
    let said: EventKind[];
    const start = (...plan: Parameters<typeof planOf>) => {
      said = [];
      return ran(planOf(...plan), {
        ...options,
        onControl: (given) => {
          control = given;
        },
        onEvent: (kind) => said.push(kind),
      });
    };
    const isRunning = (id: string) => () =>
      said.some(
        (e) => e.$case === "operatorState" && e.value.operatorId === id && e.value.state === RunState.RUN_STATE_RUNNING,
      );
    const isPaused = () => statesOf(said).at(-1) === "PAUSED";

    const endless = (id: string) =>
      viewed(query(id, "aggregate", [], "select sum(a.range * b.range) from range(10000000) a, range(10000000) b", N));

    it("gives a query up at once, and is KILLED by a cancel while it rests", async () => {
      const running = start([endless("long")], []);
      await until(isRunning("long"));
      control.pauseRun();
      await until(isPaused);
      control.cancel();
      expect((await running).state).to.equal("KILLED");
      expect(readdirSync(join(results, "1"))).to.deep.equal(["statistics.jsonl"]);
    }).timeout(30_000);

    it("begins the query anew afterwards, with the same result, and leaves nothing half-written", async () => {
      const sql = "select count(*) from range(2000) a, range(100000) b where (a.range * b.range) % 7 = 3";
      const running = start(
        [
          query("kept", "filter", [], sql, N),
          viewed(query("one", "filter", [N], "select * from input0", N)),
          viewed(query("two", "filter", [N], "select * from input0", N)),
        ],
        ["kept>one", "kept>two"],
      );
      await until(isRunning("kept"));
      for (let i = 0; i < 3; i++) {
        control.pauseRun();
        await until(isPaused);
        control.resumeRun();
        await until(() => statesOf(said).at(-1) === "RUNNING");
      }
      const { manifest, state, fileOf } = await running;
      expect(state).to.equal("COMPLETED");
      expect(manifest.failure).to.equal(undefined);
      const [[rows]] = (await rowsOf(fileOf("one"))) as [[string]];
      expect(await rowsOf(fileOf("two"))).to.deep.equal([[rows]]);
      expect(Number(rows)).to.be.within(20_000_000, 40_000_000);
      expect(readdirSync(join(results, "1")).filter((name) => name.endsWith(".tmp"))).to.deep.equal([]);
    }).timeout(60_000);

    it("again and again, at whatever moment, ends as if it had not been", async () => {
      const plan = planOf([numbers(5_000), viewed(passOn("f"))], ["numbers>f"]);
      for (let i = 0; i < 8; i++) {
        let ended = false;
        const onControl = async (given: RunControl) => {
          for (let n = 0; !ended; n++) {
            await new Promise((resolve) => setTimeout(resolve, (n * 7 + i) % 13));
            given.pauseRun();
            await new Promise((resolve) => setTimeout(resolve, (n * 5) % 7));
            given.resumeRun();
          }
        };
        const { state, manifest } = await ran(plan, { ...options, onControl });
        ended = true;
        expect(state, manifest.failure?.message).to.equal("COMPLETED");
        expect(manifest.ports[0]?.rowCount).to.equal(5_000n);
        rmSync(results, { recursive: true });
      }
    }).timeout(60_000);

    it("gives a query up that has not given its function a row yet, and says nothing while it rests", async () => {
      const slow = "select sum(a.range * b.range) % 1000 from range(20000) a, range(10000) b";
      const running = start([query("slow", "aggregate", [], slow, N), viewed(passOn("f"))], ["slow>f"]);
      await until(isRunning("f"));
      await new Promise((resolve) => setTimeout(resolve, 150)); // into the query, or before it: both are well
      control.pauseRun();
      await until(isPaused);
      const before = said.length;
      await new Promise((resolve) => setTimeout(resolve, 600));
      expect(said.slice(before)).to.deep.equal([]);
      control.resumeRun();
      const { state, manifest } = await running;
      expect(state).to.equal("COMPLETED");
      expect(manifest.ports[0]?.rowCount).to.equal(1n);
    }).timeout(60_000);
  });
});
