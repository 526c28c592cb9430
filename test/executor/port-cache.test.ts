import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect } from "chai";
import { RunState } from "../../src/contract/postern/v1/execution.js";
import type { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { AppError } from "../../src/core/app-error.js";
import { newExecutionId } from "../../src/core/ids.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { shareChannel } from "../../src/executor/cache/channel-share.js";
import { createPortCache } from "../../src/executor/cache/port-cache.js";
import type { RunControl } from "../../src/executor/run/run-control.js";
import type { EventKind } from "../../src/executor-session/session-api.js";
import { openChannel } from "../../src/rpc/channel.js";
import { type FakeCache, startFakeCache } from "../support/fake-cache.js";
import { columns, type OperatorDraft, planOf, query, scan, userFunction } from "../support/physical-plans.js";
import { type Ran, ran, rowsOf, scratch, silent, thisHost } from "../support/plan-runs.js";
import { until } from "../support/until.js";

const N = columns("n:long");

describe("a run and the cache", () => {
  let place: ReturnType<typeof scratch>;
  let cache: FakeCache;
  let open: { close(): Promise<void> }[];
  beforeEach(async () => {
    place = scratch();
    cache = await startFakeCache();
    open = [];
    writeFileSync(join(place.directory, "n.csv"), `n\n${Array.from({ length: 10 }, (_, i) => i).join("\n")}\n`);
  });
  afterEach(async () => {
    for (const one of open) await one.close();
    await cache.close();
    place.remove();
  });

  const cached = (draft: OperatorDraft): OperatorDraft => ({
    ...draft,
    materialized: true,
    subdagHash: Buffer.from(draft.id.padEnd(32, ".")).toString("hex"),
  });
  const numbers = () => scan("numbers", N, { uri: pathToFileURL(join(place.directory, "n.csv")).href, rowCount: 10n });
  const plus = (id: string) => cached(query(id, "derive", [N], "select n + 1 as n from input0", N));
  const called = (id: string) =>
    cached(userFunction(id, "javascript", N, "function processTuple(t) { return { n: t.n + 1 }; }", N));
  /** numbers ─ a │ b │ c: three regions; only c is looked at. */
  const chain = (middle = plus("b")): PhysicalPlan =>
    viewing(
      ["c"],
      planOf([numbers(), plus("a"), middle, plus("c")], ["numbers>a", "a>b", "b>c"], ["0: numbers a", "1: b", "2: c"]),
    );

  interface Run {
    executionId: string;
    events: EventKind[];
    wrong: string[];
    control: RunControl;
    ended: Promise<Ran>;
  }

  /** Starts a run whose port events reach the cache, as the server's group write does. */
  function start(plan: PhysicalPlan, options: Partial<Parameters<typeof ran>[1]> = {}, servers = [cache.address]): Run {
    const executionId = options.spec?.executionId ?? newExecutionId();
    let dialled = 0;
    const portCache = createPortCache({
      executionId,
      holdChannel: shareChannel(() => openChannel({ address: servers[dialled++ % servers.length]! })),
      token: () => `token of ${executionId}`,
      elapsed: () => performance.now(),
      log: silent,
    });
    open.push(portCache);
    const run: Partial<Run> = { executionId, events: [], wrong: [] };
    run.ended = ran(plan, {
      resultPrefix: `${pathToFileURL(join(place.directory, executionId)).href}/1/`,
      workDirectory: join(place.directory, `work-${executionId}`),
      cache: portCache,
      onEvent(kind) {
        run.events!.push(kind);
        if (kind.$case !== "portResult") return;
        const wrong = cache.commit(executionId, kind.value);
        if (wrong) run.wrong!.push(wrong);
      },
      onControl: (control) => {
        run.control = control;
      },
      ...options,
      spec: { ...options.spec, executionId },
    });
    return run as Run;
  }

  const portEvents = (events: EventKind[]): PortResult[] =>
    events.flatMap((kind) => (kind.$case === "portResult" ? [kind.value] : []));
  const told = (events: EventKind[]) =>
    events.flatMap((kind) => {
      if (kind.$case === "regionState") return [`region ${kind.value.regionId} ${shown(kind.value.state)}`];
      if (kind.$case === "operatorState") return [`${kind.value.operatorId} ${shown(kind.value.state)}`];
      return kind.$case === "portResult" ? [`port ${kind.value.key?.operatorId}`] : [];
    });
  const shown = (state: RunState) => RunState[state]!.replace("RUN_STATE_", "");
  const sumOf = async (file: string) => Number((await rowsOf(file, "select sum(n) from ?"))[0]![0]);

  /** An object in storage that an earlier execution left. */
  async function stored(operatorId: string, plan = chain()): Promise<PortResult> {
    const { manifest } = await start(viewing(["a", "b", "c"], plan)).ended;
    const port = manifest.ports.find(({ key }) => key?.operatorId === operatorId)!;
    for (const { key } of manifest.ports) cache.put(key!.operatorId, undefined);
    cache.asked.length = 0;
    return port;
  }
  const offer = (operatorId: string, port: PortResult, more: { byteCount?: bigint } = {}) =>
    cache.put(operatorId, {
      uri: port.uri,
      tupleCount: port.rowCount,
      byteCount: more.byteCount ?? port.byteCount,
      computeMs: 60_000n,
    });

  it("computes what it reserved, says by whose right and what it took, and names it in the manifest", async () => {
    const run = start(chain());
    const { manifest, fileOf } = await run.ended;
    expect(cache.asked).to.deep.equal(["lookup a b c"]);
    expect(cache.tokens).to.deep.equal([`token of ${run.executionId}`]);
    expect(run.wrong).to.deep.equal([]);
    const ports = portEvents(run.events);
    expect(ports.map(({ key }) => key?.operatorId)).to.deep.equal(["a", "b", "c"]);
    expect(ports.map(({ reservation }) => reservation)).to.deep.equal([1n, 2n, 3n]);
    const [a, b, c] = ports.map(({ computeMs }) => computeMs);
    expect(a! >= 1n && b! > a! && c! > b!, "what is downstream took longer with all it was made from").to.equal(true);
    expect(manifest.cacheCommits).to.have.length(3);
    expect(manifest.reuse.map(({ reused, reason }) => [reused, reason])).to.deep.equal(
      Array(3).fill([false, "It was computed, and offered to the cache."]),
    );
    expect(await sumOf(fileOf("c"))).to.equal(45 + 30);
  });

  it("runs nothing and starts no process when all is there, and tells true counts as reused", async () => {
    const kept = await stored("c", chain(called("b")));
    offer("c", kept);
    const host = await thisHost();
    let started = 0;
    const counting = {
      ...host,
      start: (...args: Parameters<typeof host.start>) => {
        started++;
        return host.start(...args);
      },
    };
    const run = start(chain(called("b")), { host: counting });
    const { manifest, state } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(started).to.equal(0);
    expect(cache.asked, "what was reserved on the way there is given back").to.deep.equal([
      "lookup a b c",
      "release a b",
    ]);
    expect(portEvents(run.events)[0]).to.include({ uri: kept.uri, rowCount: 10n, reused: true, reservation: 0n });
    expect(new Set(manifest.statistics.map((one) => shown(one.state)))).to.deep.equal(
      new Set(["COMPLETED_FROM_CACHE"]),
    );
    const last = manifest.statistics.find(({ operatorId }) => operatorId === "c")!;
    expect([last.outputRows, last.busyMs, last.outputBytes]).to.deep.equal([10n, 0n, 0n]);
    expect(told(run.events).filter((text) => text.startsWith("region"))).to.deep.equal(
      [1, 2, 3].map((n) => `region ${n} COMPLETED_FROM_CACHE`),
    );
    expect(manifest.cacheCommits).to.deep.equal([]);
    const [decision] = manifest.reuse.filter(({ reused }) => reused);
    expect(decision).to.include({ tupleCount: 10n, byteCount: kept.byteCount, sourceExecutionId: "an earlier one" });
    expect(decision?.recomputeMs).to.equal(60_000);
    expect(existsSync(join(place.directory, `work-${run.executionId}`, "work", "spill")), "an engine").to.equal(false);
  });

  it("reads a hit in the middle and computes what follows", async () => {
    const kept = await stored("b");
    offer("b", kept);
    const { manifest, fileOf } = await start(chain()).ended;
    expect(manifest.ports.map(({ key, reused }) => [key?.operatorId, reused])).to.deep.equal([
      ["b", true],
      ["c", false],
    ]);
    expect(await sumOf(fileOf("c"))).to.equal(75);
    expect(manifest.ports[1]!.computeMs > 60_000n, "what the hit took counts").to.equal(true);
    expect(cache.holderOf("a")).to.equal(undefined);
  });

  it("computes again what is cheaper to compute than to read, and says so with both numbers", async () => {
    const kept = await stored("a");
    cache.put("a", { uri: kept.uri, tupleCount: 10n, byteCount: 10n ** 12n, computeMs: 1n });
    const { manifest, state } = await start(chain()).ended;
    expect(state).to.equal("COMPLETED");
    const decision = manifest.reuse[0]!;
    expect(decision).to.include({ reused: false, tupleCount: 0n });
    expect(decision.readMs).to.be.greaterThan(decision.recomputeMs);
    expect(decision.reason).to.match(/is dearer than/);
    expect(cache.brokenUris, "it was not even looked at").to.deep.equal([]);
    expect(manifest.ports.find(({ key }) => key?.operatorId === "a")?.reservation).to.equal(0n);
  });

  it("asks once more about a hit that is damaged, and computes it by right of a reservation", async () => {
    const kept = await stored("b");
    offer("b", kept, { byteCount: kept.byteCount + 1n });
    const run = start(chain());
    const { manifest, state, fileOf } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(cache.asked).to.deep.equal(["lookup a b c", "lookup b"]);
    expect(cache.brokenUris).to.deep.equal([kept.uri]);
    expect(manifest.cacheCommits).to.have.length(3);
    expect(manifest.reuse[1]?.reason).to.match(/gone or damaged/);
    expect(run.wrong).to.deep.equal([]);
    expect(await sumOf(fileOf("c"))).to.equal(75);
  });

  it("takes no hit whose file is as long as it was but empty inside, as a crash can leave it", async () => {
    const kept = await stored("b");
    writeFileSync(fileURLToPath(kept.uri), Buffer.alloc(Number(kept.byteCount)));
    offer("b", kept);
    const { state, manifest, fileOf } = await start(chain()).ended;
    expect(state).to.equal("COMPLETED");
    expect(cache.brokenUris).to.deep.equal([kept.uri]);
    expect(manifest.reuse[1]?.reason).to.match(/gone or damaged/);
    expect(await sumOf(fileOf("c"))).to.equal(75);
  });

  it("names the stored rows that are damaged, not the operator that reads them, and how to be rid of them", async () => {
    const kept = await stored("b");
    const bytes = readFileSync(fileURLToPath(kept.uri));
    writeFileSync(fileURLToPath(kept.uri), bytes.fill(0xff, 4, 9));
    offer("b", kept);
    const { state, manifest } = await start(chain()).ended;
    expect(state).to.equal("FAILED");
    expect(manifest.failure).to.include({ reason: "INPUT_UNREADABLE", operatorId: "c" });
    expect(manifest.failure?.message)
      .to.match(/cannot read the stored rows of b, which an earlier run left at file:/)
      .and.to.match(/are damaged\. Run again with the cache mode REFRESH/);
  });

  it("computes for itself what the cache goes on offering though it is gone", async () => {
    const kept = await stored("b");
    rmSync(fileURLToPath(kept.uri));
    offer("b", kept);
    const again = setInterval(() => offer("b", kept), 1);
    const { state, manifest } = await start(chain()).ended.finally(() => clearInterval(again));
    expect(state).to.equal("COMPLETED");
    expect(cache.asked.filter((text) => text === "lookup b").length).to.be.lessThan(2);
    expect(manifest.ports.map(({ key }) => key?.operatorId)).to.include("b");
  });

  it("asks again about what the server reused and somebody has removed since, and computes what it is made from", async () => {
    const kept = await stored("b");
    rmSync(fileURLToPath(kept.uri));
    const { state, manifest } = await start(chain(), { spec: { alreadyMaterialized: [{ ...kept, reused: true }] } })
      .ended;
    expect(state).to.equal("COMPLETED");
    expect(cache.brokenUris).to.deep.equal([kept.uri]);
    expect(manifest.ports.map(({ key }) => key?.operatorId)).to.deep.equal(["a", "b", "c"]);
  });

  it("runs nothing and tells nothing again when the server found all results", async () => {
    const kept = await stored("c");
    const run = start(chain(), { spec: { alreadyMaterialized: [{ ...kept, reused: true }] } });
    const { manifest, state } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(portEvents(run.events)).to.deep.equal([]);
    expect(cache.asked, "there is nothing to ask about").to.deep.equal([]);
    expect(manifest.statistics.map((one) => shown(one.state))).to.deep.equal(Array(4).fill("COMPLETED_FROM_CACHE"));
  });

  it("waits for what another execution computes, does everything else meanwhile, and goes on at once", async () => {
    const kept = await stored("a");
    cache.hold("a", "somebody");
    const plan = viewing(
      ["c", "x"],
      planOf(
        [numbers(), plus("a"), plus("c"), plus("x")],
        ["numbers>a", "a>c", "numbers>x"],
        ["0: numbers a x", "1: c"],
      ),
    );
    const run = start(plan);
    await until(() => told(run.events).includes("port x"));
    expect(told(run.events)).not.to.include("region 1 COMPLETED");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(told(run.events)).not.to.include("port c");
    const at = performance.now();
    offer("a", kept);
    await until(() => told(run.events).includes("region 2 RUNNING"));
    const tookMs = performance.now() - at;
    const { manifest, state, fileOf } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(tookMs).to.be.lessThan(1_000);
    expect(manifest.ports.map(({ key }) => key?.operatorId)).to.deep.equal(["x", "a", "c"]);
    expect(await sumOf(fileOf("c"))).to.equal(45 + 20);
    expect(manifest.reuse[0]).to.include({
      reused: true,
      reason: "Another execution computed it while this one waited.",
    });
    expect(
      readdirSync(join(place.directory, run.executionId, "1")).filter((name) => name.endsWith(".tmp")),
    ).to.deep.equal([]);
    expect(statSync(fileURLToPath(kept.uri)).size, "what was borrowed is as it was").to.equal(Number(kept.byteCount));
  });

  it("inherits from a holder that dies, and computes what it is made from as well", async () => {
    cache.hold("b", "the holder");
    const run = start(chain());
    await until(() => cache.asked.length === 3);
    expect(cache.asked).to.have.members(["lookup a b c", "release a", "watch b"]);
    expect(told(run.events)).to.deep.equal([]);
    cache.end("the holder");
    const { state, fileOf, manifest } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(cache.asked.slice(3)).to.deep.equal(["lookup a"]);
    expect(run.wrong).to.deep.equal([]);
    expect(manifest.cacheCommits).to.have.length(3);
    expect(await sumOf(fileOf("c"))).to.equal(75);
  });

  it("goes over a region again for what it inherits there, and tells each state once", async () => {
    cache.hold("b", "the holder");
    const shared = query("shared", "derive", [N], "select n * 2 as n from input0", N);
    const plan = planOf(
      [numbers(), shared, plus("a"), plus("b")],
      ["numbers>shared", "shared>a", "shared>b"],
      ["0: numbers shared a b"],
    );
    const run = start(plan);
    await until(() => told(run.events).includes("port a"));
    await until(() => cache.asked.includes("watch b"));
    cache.end("the holder");
    const { state, fileOf } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(await sumOf(fileOf("b"))).to.equal(100);
    expect(run.wrong).to.deep.equal([]);
    expect(new Set(told(run.events)).size, "each once").to.equal(told(run.events).length);
    expect(told(run.events).filter((text) => !text.endsWith("RUNNING"))).to.deep.equal([
      "port a",
      "a COMPLETED",
      "port b",
      "numbers COMPLETED",
      "shared COMPLETED",
      "b COMPLETED",
      "region 1 COMPLETED",
    ]);
  });

  it("tells what was waiting as stopped when it is cancelled between two passes", async () => {
    cache.hold("b", "the holder");
    const run = start(planOf([numbers(), plus("a"), plus("b")], ["numbers>a", "numbers>b"]));
    await until(() => told(run.events).includes("a COMPLETED"));
    run.control.cancel();
    expect((await run.ended).state).to.equal("KILLED");
    expect(told(run.events).slice(-2)).to.deep.equal(["numbers KILLED", "region 1 KILLED"]);
  });

  it("gives on what it inherits and does not need", async () => {
    const kept = await stored("c");
    offer("c", kept);
    cache.hold("a", "the holder");
    // x keeps the run going, and c needs no a.
    const plan = viewing(
      ["c", "x"],
      planOf(
        [numbers(), plus("a"), plus("c"), plus("y"), plus("x")],
        ["numbers>a", "a>c", "numbers>y", "y>x"],
        ["0: numbers a y", "1: c", "1: x"],
      ),
    );
    cache.hold("y", "the holder");
    const run = start(plan);
    await until(() => cache.asked.some((text) => text.startsWith("watch")));
    cache.end("the holder");
    const { state } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(cache.asked).to.include("release a");
    expect(cache.holderOf("a")).to.equal(undefined);
    expect(told(run.events)).not.to.include("port a");
  });

  it("watches again when the call breaks, and when there is more to wait for", async () => {
    cache.hold("a", "one");
    cache.hold("b", "two");
    const run = start(chain());
    await until(() => cache.asked.includes("watch a b"));
    cache.cut();
    await until(() => cache.asked.filter((text) => text === "watch a b").length === 2);
    cache.end("two");
    await until(() => cache.holderOf("b") === run.executionId);
    cache.end("one");
    expect((await run.ended).state).to.equal("COMPLETED");
    expect(run.wrong).to.deep.equal([]);
  });

  it("moves on to the next server when one cannot be reached", async () => {
    const run = start(chain(), {}, ["127.0.0.1:9", cache.address]);
    expect((await run.ended).manifest.cacheCommits).to.have.length(3);
    expect(run.wrong).to.deep.equal([]);
  });

  const refusals: [string, AppError][] = [
    ["refuses", new AppError("forbidden", "PERMISSION_DENIED", "Not you.")],
    ["has given the lease to somebody else", new AppError("precondition", "STALE_LEASE", "Another took over.")],
  ];
  for (const [what, error] of refusals)
    it(`goes on without the cache when the server ${what}`, async () => {
      cache.refuse(error);
      const { state, manifest } = await start(chain()).ended;
      expect(state).to.equal("COMPLETED");
      expect(cache.asked).to.deep.equal(["lookup a b c"]);
      expect(manifest.cacheCommits).to.deep.equal([]);
      expect(manifest.reuse[0]?.reason).to.include(error.message);
    });

  it("goes on without the cache when there is no server, after a few seconds", async () => {
    const { state } = await start(chain(), {}, ["127.0.0.1:9"]).ended;
    expect(state).to.equal("COMPLETED");
  }).timeout(30_000);

  it("goes on by itself when waiting is refused", async () => {
    cache.hold("b", "somebody");
    const run = start(chain());
    await until(() => cache.asked.includes("watch b"));
    cache.refuse(new AppError("forbidden", "PERMISSION_DENIED", "Not you."));
    cache.cut();
    const { state, manifest } = await run.ended;
    expect(state).to.equal("COMPLETED");
    expect(manifest.cacheCommits, "c was reserved before").to.have.length(1);
  });

  it("is KILLED promptly by a cancel while it waits, and by none of its waiting", async () => {
    cache.hold("b", "somebody");
    const run = start(chain());
    await until(() => cache.asked.includes("watch b"));
    run.control.cancel();
    const { state } = await run.ended;
    expect(state).to.equal("KILLED");
    expect(told(run.events)).to.deep.equal([]);
  });

  it("is paused while it waits, and tells nothing new until it is resumed", async () => {
    const kept = await stored("b");
    cache.hold("b", "somebody");
    const run = start(chain());
    await until(() => cache.asked.includes("watch b"));
    run.control.pauseRun();
    const states = () => run.events.flatMap((kind) => (kind.$case === "executionState" ? [kind.value.state] : []));
    await until(() => states().length === 2);
    offer("b", kept);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(told(run.events)).to.deep.equal([]);
    run.control.resumeRun();
    expect((await run.ended).state).to.equal("COMPLETED");
  });

  it("lets two runs through that hold each other's later ports", async () => {
    // Each region of one plan holds what the other plan has apart: by regions alone they would wait for each other.
    const first = planOf(
      [numbers(), plus("p"), plus("q"), plus("r"), plus("s")],
      ["numbers>p", "p>q", "numbers>r", "r>s"],
      ["0: numbers p r", "1: q s"],
    );
    cache.hold("q", "stranger");
    cache.hold("r", "stranger");
    const one = start(first);
    await until(() => cache.asked.some((text) => text.startsWith("watch")));
    const two = start(first);
    await until(() => cache.asked.filter((text) => text.startsWith("watch")).length >= 2);
    cache.end("stranger");
    for (const run of [one, two]) {
      const { state, manifest } = await run.ended;
      expect(state).to.equal("COMPLETED");
      expect(run.wrong).to.deep.equal([]);
      expect(manifest.reuse).to.have.length(4);
      cache.end(run.executionId);
    }
    const written = [one, two].flatMap((run) => portEvents(run.events).filter(({ reused }) => !reused));
    expect(written.map(({ key }) => key?.operatorId).toSorted(), "each port once").to.deep.equal(["p", "q", "r", "s"]);
  });

  it("does not hold up a chain of regions by a slow one beside it", async () => {
    const slow = cached(
      userFunction(
        "slow",
        "javascript",
        N,
        "function processTuple(t) { const end = Date.now() + 150; while (Date.now() < end); return t; }",
        N,
      ),
    );
    const plan = planOf(
      [numbers(), slow, plus("a"), plus("b"), plus("c")],
      ["numbers>slow", "numbers>a", "a>b", "b>c"],
      ["0: numbers", "1: slow", "1: a", "2: b", "3: c"],
    );
    const materialized = {
      ...plan,
      operators: plan.operators.map((o) => ({ ...o, outputs: o.outputs.map((p) => ({ ...p, materialized: true })) })),
    };
    const run = start(materialized);
    await run.ended;
    const order = told(run.events).filter((text) => text.startsWith("port"));
    expect(order).to.deep.equal(["port numbers", "port a", "port b", "port c", "port slow"]);
  });
});

const viewing = (operatorIds: string[], plan: PhysicalPlan): PhysicalPlan => ({
  ...plan,
  operators: plan.operators.map((o) => ({
    ...o,
    outputs: o.outputs.map((port) => ({ ...port, viewed: operatorIds.includes(o.operatorId) })),
  })),
});
