import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { pino } from "pino";
import { CacheMode, CommandKind, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { shareChannel } from "../../src/executor/cache/channel-share.js";
import { type RunSessionDeps, runSession } from "../../src/executor/run-session.js";
import { type ConnectOptions, connectExecutor, type ExecutorConnection } from "../../src/executor-session/connect.js";
import type { ExecutorSession, SessionEnd } from "../../src/executor-session/session-api.js";
import { startFakeCache } from "../support/fake-cache.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { columns, planOf, query, scan, specOf, userFunction } from "../support/physical-plans.js";
import { scratch, silent, thisHost } from "../support/plan-runs.js";
import { rejection } from "../support/rejection.js";
import { until } from "../support/until.js";

const N = columns("n:long");

describe("an execution and its server", () => {
  let place: ReturnType<typeof scratch>;
  let server: FakeServer;
  let connection: ExecutorConnection;
  let session: ExecutorSession;
  beforeEach(() => {
    place = scratch();
  });
  afterEach(async () => {
    await connection.close();
    await server.close();
    place.remove();
  });

  async function deps(
    options: FakeServerOptions = {},
    more: Partial<RunSessionDeps & Pick<ConnectOptions, "outbox">> = {},
  ): Promise<RunSessionDeps> {
    server = await startFakeServer(options);
    const host = await thisHost();
    connection = connectExecutor({
      servers: [server],
      executorId: "executor-1",
      software: "test/1",
      sandboxLayers: host.layers,
      outbox: more.outbox,
      thread: false,
    });
    return {
      host,
      memoryLimitMb: 256,
      threads: 1,
      workDirectory: join(place.directory, "work"),
      cancelGraceMs: 0,
      holdChannel: shareChannel(() => connection.openChannel()),
      log: silent,
      ...more,
    };
  }

  const numbers = (count: number) => {
    const path = join(place.directory, "n.csv");
    writeFileSync(path, `n\n${Array.from({ length: count }, (_, i) => i).join("\n")}\n`);
    return scan("numbers", N, { uri: pathToFileURL(path).href, rowCount: BigInt(count) });
  };
  const passOn = (id: string) => query(id, "filter", [N], "select * from input0", N);
  /** Many operators, each written: some hundred events. */
  const chatty = (): PhysicalPlan => {
    const ids = Array.from({ length: 12 }, (_, i) => `op${i}`);
    return planOf(
      [
        numbers(10),
        ...ids.map((id) => ({ ...query(id, "filter", [N], "select n + 1 from input0", N), materialized: true })),
        {
          ...userFunction(
            "lines",
            "javascript",
            N,
            "function processTuple(t) { console.log('row', t.n); return t; }",
            N,
          ),
          materialized: true,
        },
      ],
      [`numbers>op0`, ...ids.slice(1).map((id, i) => `op${i}>${id}`), "op11>lines"],
    );
  };
  const endless = () =>
    planOf(
      [
        numbers(3),
        { ...userFunction("loop", "javascript", N, "function processTuple(t) { for (;;) {} }", N), materialized: true },
      ],
      ["numbers>loop"],
    );
  async function start(
    runDeps: RunSessionDeps,
    plan: PhysicalPlan,
    token = "token",
    more: Parameters<typeof specOf>[2] = {},
  ): Promise<SessionEnd> {
    const spec = specOf(plan, `${pathToFileURL(join(place.directory, "results")).href}/1/`, more);
    session = await connection.attach({ spec, token });
    await runSession(runDeps, session).then(
      (manifest) => session.complete(manifest),
      (error: unknown) => {
        if (!session.signal.aborted) throw error;
      },
    );
    return session.ended;
  }
  /** What every good end has in common: numbered without a hole, each event once, one matching manifest. */
  function expectWholeStory(): void {
    expect(server.violations).to.deep.equal([]);
    expect(server.events.map((e) => e.sequence)).to.deep.equal(server.events.map((_, i) => BigInt(i + 1)));
    const ports = server.events.flatMap((e) => (e.kind?.$case === "portResult" ? [e.kind.value.key?.operatorId] : []));
    expect(new Set(ports).size).to.equal(ports.length);
    expect(ports).to.deep.equal(server.manifests[0]?.ports.map((p) => p.key?.operatorId));
    expect(server.manifests[0]?.lastSequence).to.equal(BigInt(server.events.length));
  }

  it("says hello, tells what happens in numbered events, and completes", async () => {
    const end = await start(await deps(), chatty());
    expect(end).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
    expectWholeStory();
    expect(server.hellos[0]).to.include({ executorId: "executor-1", attempt: 1, protocolVersion: 1 });
    expect(server.hellos[0]?.sandboxLayers).to.include("quickjs");
    const states = server.events.flatMap((e) => (e.kind?.$case === "executionState" ? [e.kind.value.state] : []));
    expect(states).to.deep.equal([ExecutionState.EXECUTION_STATE_RUNNING, ExecutionState.EXECUTION_STATE_COMPLETING]);
    expect(readdirSync(join(place.directory, "work"))).to.deep.equal([]);
  });

  const faults: [string, FakeServerOptions][] = [
    ["the connection breaks before events are stored", { fateOf: (n) => (n % 4 === 2 ? "cut" : "apply") }],
    [
      "the connection breaks after events are stored and before they are acknowledged",
      { fateOf: (n) => (n % 3 === 0 ? "store-and-cut" : "apply") },
    ],
    [
      "batches get lost and the server asks for them again",
      { fateOf: (n) => (n % 5 === 2 ? "drop" : "apply"), creditWindow: 40n, leaseMs: 300 },
    ],
    ["acknowledgements come late", { fateOf: (n) => (n % 2 === 0 ? "ack-late" : "apply") }],
    ["little credit is given", { creditWindow: 3n }],
    ["the answer to the last report gets lost", { loseCompleteAck: (stream) => stream === 1 }],
  ];
  for (const [what, options] of faults)
    it(`loses and doubles nothing when ${what}`, async () => {
      const end = await start(await deps(options), chatty());
      expect(end).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
      expectWholeStory();
      if (options.fateOf) expect(server.faults, "faults that happened").to.be.greaterThan(1);
    });

  it("goes on with the run while the stream is broken, and keeps attempt and executor id", async () => {
    const sessionDeps = await deps();
    const running = start(sessionDeps, endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.cut();
    await server.until("a second hello", () => server.hellos.length === 2);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await running;
    expect(server.hellos[1]).to.deep.equal(server.hellos[0]);
    expect(server.events.filter((e) => e.kind?.$case === "regionState")).to.have.length(2);
    expectWholeStory();
  });

  it("is KILLED by a cancel, also when user code never returns", async () => {
    const running = start(await deps(), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_KILLED });
    expect(server.said).to.deep.include({
      $case: "commandAck",
      value: { commandId: "command-COMMAND_KIND_CANCEL", refused: "" },
    });
  });

  it("lets user code end its batch when it is cancelled, and kills it when it is killed", async () => {
    const runDeps = await deps({}, { cancelGraceMs: 60_000 });
    const slow = userFunction(
      "slow",
      "javascript",
      N,
      "function processTuple(t) { const end = Date.now() + 300; while (Date.now() < end); console.log('did', t.n); return t; }",
      N,
    );
    const running = start(runDeps, planOf([numbers(3), { ...slow, materialized: true }], ["numbers>slow"]));
    await server.until("a line", () => server.events.some((e) => e.kind?.$case === "consoleMessage"));
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_KILLED });
    const lines = server.events.filter((e) => e.kind?.$case === "consoleMessage");
    expect(lines, "the batch was ended").to.have.length(3);
  });

  it("kills user code at once when it is killed, however long the grace of a cancel", async () => {
    const running = start(await deps({}, { cancelGraceMs: 60_000 }), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    server.command(CommandKind.COMMAND_KIND_KILL);
    expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_KILLED });
  });

  const states = () =>
    server.events.flatMap((e) =>
      e.kind?.$case === "executionState" ? [ExecutionState[e.kind.value.state]!.slice(16)] : [],
    );
  /** Three batches of user code, of a little time each. */
  const inBatches = () => {
    const work =
      "function processTuple(t) { if (t.n % 100 === 0) { const end = Date.now() + 5; while (Date.now() < end); } return t; }";
    const slow = { ...userFunction("slow", "javascript", N, work, N), materialized: true };
    return planOf([numbers(6_000), slow], ["numbers>slow"]);
  };

  it("halts user code where it is while it is paused, and goes on from there", async () => {
    const running = start(await deps(), inBatches());
    await server.until("the loop to run", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_PAUSE);
    await server.until("it to rest", () => states().includes("PAUSED"));
    const before = server.events.length;
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(server.events.length, "events while it rests").to.equal(before);
    server.command(CommandKind.COMMAND_KIND_RESUME);
    expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
    expect(states()).to.deep.equal(["RUNNING", "PAUSED", "RUNNING", "COMPLETING"]);
    expect(server.manifests[0]?.ports[0]?.rowCount).to.equal(6_000n);
    expectWholeStory();
  });

  it("rests between two steps", async () => {
    const ids = Array.from({ length: 40 }, (_, i) => `q${i}`);
    const steps = ids.map((id) => ({ ...query(id, "filter", [N], "select n + 1 from input0", N), materialized: true }));
    const plan = planOf([numbers(10), ...steps], ["numbers>q0", ...ids.slice(1).map((id, i) => `q${i}>${id}`)]);
    const running = start(await deps(), plan);
    await server.until("a step", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_PAUSE);
    await server.until("it to rest", () => states().includes("PAUSED"));
    server.command(CommandKind.COMMAND_KIND_RESUME);
    await running;
    expect(states()).to.deep.equal(["RUNNING", "PAUSED", "RUNNING", "COMPLETING"]);
    expectWholeStory();
  });

  it("is KILLED by a cancel while it rests", async () => {
    const running = start(await deps({}, { cancelGraceMs: 60_000 }), inBatches());
    await server.until("the loop to run", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_PAUSE);
    await server.until("it to rest", () => states().includes("PAUSED"));
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_KILLED });
    expect(states()).to.deep.equal(["RUNNING", "PAUSED"]);
  });

  it("hears a command that came before the run began", async () => {
    const runDeps = await deps();
    const spec = specOf(inBatches(), `${pathToFileURL(join(place.directory, "results")).href}/1/`);
    session = await connection.attach({ spec, token: "token" });
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await session.complete(await runSession(runDeps, session));
    expect(await session.ended).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_KILLED });
    expect(server.said.filter((f) => f.$case === "commandAck")).to.have.length(1);
    expect(server.manifests[0]?.ports).to.deep.equal([]);
  });

  it("counts the lines it left out for want of room, and tells of the gap", async () => {
    let isOpen = false;
    const runDeps = await deps(
      { fateOf: () => (isOpen ? "apply" : "drop"), leaseMs: 60_000 },
      { outbox: { events: 40 } },
    );
    const many = "function processTuple(t) { console.log('row', t.n); return t; }";
    const plan = planOf(
      [numbers(200), { ...userFunction("lines", "javascript", N, many, N), materialized: true }],
      ["numbers>lines"],
    );
    const running = start(runDeps, plan);
    await server.until("a batch", () => server.faults > 0);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    isOpen = true;
    server.cut();
    await running;
    const lines = server.events.flatMap((e) => (e.kind?.$case === "consoleMessage" ? [e.kind.value.text] : []));
    const said = lines.filter((text) => text.startsWith("row "));
    const told = lines.flatMap((text) => /^([\d,]+) lines? dropped here/.exec(text)?.[1] ?? []);
    const dropped = server.manifests[0]!.dropped!.consoleLines;
    expect(dropped > 0n).to.equal(true);
    expect(said.length + Number(dropped)).to.equal(200);
    expect(told.reduce((sum, count) => sum + Number(count.replaceAll(",", "")), 0)).to.equal(Number(dropped));
    expectWholeStory();
  });

  for (const reason of ["STALE_LEASE", "LEASE_HELD"])
    it(`stops the work when the server refuses it with ${reason}, and does not come back`, async () => {
      const refusal = new AppError("precondition", reason, "Somebody else has it.");
      const running = start(await deps({ onHello: (stream) => (stream === 2 ? refusal : undefined) }), endless());
      await server.until("the loop to run", () => server.events.length > 3);
      server.cut();
      const end = await running;
      expect(end.kind === "refused" && end.error.reason).to.equal(reason);
      expect(server.hellos).to.have.length(2);
      expect(server.manifests).to.deep.equal([]);
      expect(readdirSync(join(place.directory, "work"))).to.deep.equal([]);
    });

  it("does not begin to work before the server has taken it in", async () => {
    const refusal = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out.");
    const error = await rejection(start(await deps({ onHello: () => refusal }), chatty()));
    expect(error).to.include({ reason: "TOKEN_EXPIRED" });
    expect(existsSync(join(place.directory, "results"))).to.equal(false);
  });

  it("asks the cache with the token of the moment, and lets nobody else see it", async () => {
    const cache = await startFakeCache();
    const lines: string[] = [];
    const log = pino({ level: "trace" }, { write: (line: string) => void lines.push(line) });
    try {
      const runDeps = await deps({ alsoServe: cache.mount }, { log });
      cache.hold("last", "somebody");
      const kept = { materialized: true, subdagHash: "ab".repeat(32) };
      const shown = "function processTuple(t) { console.log(JSON.stringify(globalThis)); return t; }";
      const plan = planOf(
        [numbers(3), { ...userFunction("seen", "javascript", N, shown, N), ...kept }, { ...passOn("last"), ...kept }],
        ["numbers>seen", "seen>last"],
        ["0: numbers seen", "1: last"],
      );
      // "seen" is looked at as well, so it is computed meanwhile.
      const running = start(runDeps, plan, "first-token");
      await server.until("the wait", () => cache.asked.includes("watch last"));
      server.send({ $case: "tokenGrant", value: { token: "second-token", expiresAt: undefined } });
      await server.until("the function's port", () => server.events.some((e) => e.kind?.$case === "portResult"));
      cache.cut();
      await until(() => cache.tokens.at(-1) === "second-token");
      cache.end("somebody");
      expect(await running).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
      expect(cache.tokens.slice(0, 2)).to.deep.equal(["first-token", "first-token"]);
      expect(server.manifests[0]?.ports.map(({ reservation }) => reservation > 0n)).to.deep.equal([true, true]);
      expectWholeStory();
      expect(JSON.stringify(server.events, (_, value) => String(value))).not.to.match(/first-token|second-token/);
      expect(lines.join("")).not.to.match(/first-token|second-token/);
    } finally {
      await cache.close();
    }
  });

  it("asks no cache when the execution skips it", async () => {
    const cache = await startFakeCache();
    try {
      const runDeps = await deps({ alsoServe: cache.mount });
      const kept = { ...passOn("last"), materialized: true, subdagHash: "ab".repeat(32) };
      const skip = { mode: CacheMode.CACHE_MODE_SKIP, operators: {} };
      await start(runDeps, planOf([numbers(3), kept], ["numbers>last"]), "token", { cache: skip });
      expect(cache.asked).to.deep.equal([]);
      expect(server.manifests[0]?.reuse[0]?.reason).to.equal("The execution skips the cache.");
    } finally {
      await cache.close();
    }
  });

  it("says in one line that it goes on without a cache, when the server knows none", async () => {
    const lines: string[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void lines.push(line) });
    const kept = { ...passOn("last"), materialized: true, subdagHash: "ab".repeat(32) };
    const end = await start(await deps({}, { log }), planOf([numbers(3), kept], ["numbers>last"]));
    expect(end).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
    expect(lines.filter((line) => line.includes("without the cache"))).to.have.length(1);
  });

  it("says goodbye when the executor cannot wait for its end", async () => {
    const running = start(await deps(), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    void session.leave("the executor stops");
    expect(await running).to.deep.equal({ kind: "left" });
    expect(server.said).to.deep.equal([{ $case: "goodbye", value: { reason: "the executor stops" } }]);
    expect(server.manifests).to.deep.equal([]);
  });
});
