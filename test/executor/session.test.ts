import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { SignJWT } from "jose";
import { CommandKind, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { runExecution, type SessionDeps } from "../../src/executor/stream/session.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { columns, planOf, query, scan, specOf, userFunction } from "../support/physical-plans.js";
import { scratch, silent, thisHost } from "../support/plan-runs.js";

const N = columns("n:long");

describe("an execution and its server", () => {
  let place: ReturnType<typeof scratch>;
  let server: FakeServer;
  let leave: AbortController;
  beforeEach(() => {
    place = scratch();
    leave = new AbortController();
  });
  afterEach(async () => {
    await server.close();
    place.remove();
  });

  async function deps(options: FakeServerOptions = {}, more: Partial<SessionDeps> = {}): Promise<SessionDeps> {
    server = await startFakeServer(options);
    return {
      openAttach: server.client().openAttach,
      executorId: "executor-1",
      host: await thisHost(),
      memoryLimitMb: 256,
      threads: 1,
      workDirectory: join(place.directory, "work"),
      log: silent,
      ...more,
    };
  }

  const numbers = (count: number) => {
    const path = join(place.directory, "n.csv");
    writeFileSync(path, `n\n${Array.from({ length: count }, (_, i) => i).join("\n")}\n`);
    return scan("numbers", N, { uri: pathToFileURL(path).href, rowCount: BigInt(count) });
  };
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
  const start = (
    sessionDeps: SessionDeps,
    plan: PhysicalPlan,
    token = "token",
    more: Parameters<typeof specOf>[2] = {},
  ) =>
    runExecution(
      sessionDeps,
      { spec: specOf(plan, `${pathToFileURL(join(place.directory, "results")).href}/1/`, more), token },
      leave.signal,
    );
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

  it("says honestly that it cannot pause", async () => {
    const running = start(await deps(), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_PAUSE);
    await server.until("the answer", () => server.said.length > 0);
    expect(server.said[0]).to.deep.equal({
      $case: "commandAck",
      value: { commandId: "command-COMMAND_KIND_PAUSE", refused: "not supported by this executor" },
    });
    server.command(CommandKind.COMMAND_KIND_KILL);
    await running;
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

  it("attaches once more when an older stream of its own was still being stored", async () => {
    const refusal = new AppError("precondition", "UNEXPECTED_SEQUENCE", "Another stream stored events; reconnect.");
    const running = start(await deps({ onHello: (stream) => (stream === 2 ? refusal : undefined) }), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.cut();
    await server.until("a third hello", () => server.hellos.length === 3);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await running;
    expectWholeStory();
  });

  it("does not begin to work before the server has taken it in", async () => {
    const refusal = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out.");
    const end = await start(await deps({ onHello: () => refusal }), chatty());
    expect(end.kind === "refused" && end.error.reason).to.equal("TOKEN_EXPIRED");
    expect(existsSync(join(place.directory, "results"))).to.equal(false);
  });

  it("gives a server up that is silent for a lease, and attaches again", async () => {
    const running = start(await deps({ leaseMs: 300, isDeaf: (stream) => stream === 1 }), endless(), "token", {
      leaseMs: 300,
    });
    await server.until("a second hello", () => server.hellos.length === 2);
    await server.until("heartbeats on the second stream", () => server.heartbeats > 6);
    expect(server.hellos).to.have.length(2);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect((await running).kind).to.equal("reported");
  });

  it("gives a server up that answers heartbeats and acknowledges nothing, and loses nothing by it", async () => {
    const options: FakeServerOptions = { leaseMs: 300, fateOf: () => (server.hellos.length === 1 ? "drop" : "apply") };
    const running = start(await deps(options), endless());
    await server.until("a second hello", () => server.hellos.length === 2);
    await server.until("the events on the second stream", () => server.events.length > 3);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await running;
    expectWholeStory();
  });

  it("stops when no server answers for many leases", async () => {
    const sessionDeps = await deps();
    await server.close();
    const end = await start(sessionDeps, endless(), "token", { leaseMs: 20 });
    expect(end.kind).to.equal("lost");
  });

  it("attaches elsewhere when the server drains, with everything acknowledged before", async () => {
    const running = start(await deps(), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    server.send({ $case: "drain", value: { graceMs: 5_000 } });
    await server.until("a second hello", () => server.hellos.length === 2);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await running;
    expectWholeStory();
  });

  it("asks for a fresh token before its own runs out, and uses it on the next stream", async () => {
    const key = new TextEncoder().encode("a key only this test knows, long enough");
    const jwt = (exp: number) =>
      new SignJWT({})
        .setProtectedHeader({ alg: "HS256" })
        .setIssuedAt(Math.floor(Date.now() / 1000) - 100)
        .setExpirationTime(exp)
        .sign(key);
    const old = await jwt(Math.floor(Date.now() / 1000) + 10);
    const fresh = await jwt(Math.floor(Date.now() / 1000) + 600);
    const running = start(await deps({ leaseMs: 300 }), endless(), old);
    await server.until("the wish", () => server.said.some((f) => f.$case === "tokenRefresh"));
    server.send({ $case: "tokenGrant", value: { token: fresh, expiresAt: undefined } });
    server.command(CommandKind.COMMAND_KIND_PAUSE);
    await server.until("the grant to have arrived", () => server.said.some((f) => f.$case === "commandAck"));
    server.cut();
    await server.until("a second hello", () => server.hellos.length === 2);
    expect(server.tokens).to.deep.equal([old, fresh]);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await running;
  });

  it("says goodbye when the executor cannot wait for its end", async () => {
    const running = start(await deps(), endless());
    await server.until("the loop to run", () => server.events.length > 3);
    leave.abort(new Error("the executor stops"));
    expect(await running).to.deep.equal({ kind: "left" });
    expect(server.said).to.deep.equal([{ $case: "goodbye", value: { reason: "the executor stops" } }]);
    expect(server.manifests).to.deep.equal([]);
  });
});
