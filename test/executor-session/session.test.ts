import { spawn } from "node:child_process";
import { expect } from "chai";
import { SignJWT } from "jose";
import {
  CommandKind,
  ExecutionSpec,
  ExecutionState,
  Manifest,
  RunState,
} from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import {
  type ConnectOptions,
  connectExecutor,
  type EventKind,
  type ExecutorConnection,
  type ExecutorSession,
} from "../../src/executor-session/connect.js";
import { Connection } from "../../src/executor-session/connection.js";
import type { StreamOptions } from "../../src/executor-session/messages.js";
import { startStreamThread } from "../../src/executor-session/streams.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { rejection } from "../support/rejection.js";

const event = (regionId: number): EventKind => ({
  $case: "regionState",
  value: { regionId, state: RunState.RUN_STATE_RUNNING },
});
const specOf = (leaseMs: number) =>
  ExecutionSpec.fromPartial({ executionId: "execution-1", attempt: 1, epoch: 1n, planDigest: "digest", leaseMs });
const completed = Manifest.fromPartial({ state: ExecutionState.EXECUTION_STATE_COMPLETED });
const jwt = (seconds: number) =>
  new SignJWT({})
    .setProtectedHeader({ alg: "HS256" })
    .setIssuedAt()
    .setExpirationTime(`${seconds}s`)
    .sign(new TextEncoder().encode("a key only this test knows, long enough"));
const UNUSED: StreamOptions = {
  servers: [],
  executorId: "executor-1",
  software: "test/1",
  sandboxLayers: [],
  languages: [],
  labels: {},
  spill: undefined,
  outbox: {},
  stallLimitMs: 0,
};

for (const thread of [false, true])
  describe(`a session whose streams live ${thread ? "on a thread of their own" : "beside it"}`, () => {
    const servers: FakeServer[] = [];
    const connections: ExecutorConnection[] = [];
    afterEach(async () => {
      for (const connection of connections.splice(0)) await connection.close();
      for (const server of servers.splice(0)) await server.close();
    });

    async function serverWith(options: FakeServerOptions = {}): Promise<FakeServer> {
      const server = await startFakeServer({ leaseMs: 600, ...options });
      servers.push(server);
      return server;
    }
    function connect(to: FakeServer | FakeServer[], options: Partial<ConnectOptions> = {}): ExecutorConnection {
      const connection = connectExecutor({
        servers: [to].flat().map(({ address }) => ({ address })),
        executorId: "executor-1",
        software: "test/1",
        thread,
        ...options,
      });
      connections.push(connection);
      return connection;
    }
    const attach = (to: FakeServer | FakeServer[], options: Partial<ConnectOptions> = {}, token = "token") =>
      connect(to, options).attach({ spec: specOf(600), token });
    const numbersOf = (server: FakeServer) =>
      server.events.map(({ kind }) => (kind?.$case === "regionState" ? kind.value.regionId : undefined));
    const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
    async function reportAll(session: ExecutorSession, count: number): Promise<void> {
      for (const n of upTo(count)) await session.report(event(n));
    }

    it("says hello, reports in order, and completes", async () => {
      const server = await serverWith();
      const session = await attach(server, { sandboxLayers: ["none"] });
      await reportAll(session, 1_000);
      const end = await session.complete(completed);
      expect(end).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_COMPLETED });
      expect(await session.ended).to.equal(end);
      expect(numbersOf(server)).to.deep.equal(upTo(1_000));
      expect(server.hellos[0]).to.include({ executionId: "execution-1", executorId: "executor-1", software: "test/1" });
      expect(server.manifests[0]).to.deep.include({ executionId: "execution-1", attempt: 1, lastSequence: 1_000n });
      expect(server.violations).to.deep.equal([]);
      expect(session.signal.aborted).to.equal(false);
    });

    const faults: [string, FakeServerOptions][] = [
      ["the connection breaks before events are stored", { fateOf: (n) => (n % 4 === 2 ? "cut" : "apply") }],
      ["the connection breaks between commit and ack", { fateOf: (n) => (n % 3 === 0 ? "store-and-cut" : "apply") }],
      [
        "batches get lost and the server asks for them again",
        { fateOf: (n) => (n % 5 === 2 ? "drop" : "apply"), creditWindow: 40n, leaseMs: 200 },
      ],
      ["acknowledgements come late", { fateOf: (n) => (n % 2 === 0 ? "ack-late" : "apply") }],
      ["little credit is given", { creditWindow: 3n }],
      ["the answer to the last report gets lost", { loseCompleteAck: (stream) => stream === 1 }],
    ];
    for (const [what, options] of faults)
      it(`loses and doubles nothing when ${what}`, async () => {
        const server = await serverWith(options);
        const session = await attach(server, { outbox: { batchEvents: 9 } });
        await reportAll(session, 120);
        expect((await session.complete(completed)).kind).to.equal("reported");
        expect(numbersOf(server)).to.deep.equal(upTo(120));
        expect(server.events.map(({ sequence }) => Number(sequence))).to.deep.equal(upTo(120));
        expect(server.violations).to.deep.equal([]);
        if (options.fateOf) expect(server.faults, "faults that happened").to.be.greaterThan(1);
      });

    it("makes who reports wait while the outbox is full, and refuses what may be dropped", async () => {
      let isOpen = false;
      const server = await serverWith({ fateOf: () => (isOpen ? "apply" : "drop"), leaseMs: 60_000 });
      const session = await attach(server, { outbox: { events: 50 } });
      let said = 0;
      const reporting = (async () => {
        for (const n of upTo(200)) {
          await session.report(event(n));
          said = n;
        }
      })();
      await server.until("a batch", () => server.faults > 0);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(said).to.equal(50);
      expect(session.offer(event(0))).to.equal(false);
      isOpen = true;
      server.cut();
      await reporting;
      await session.complete(completed);
      expect(numbersOf(server)).to.deep.equal(upTo(200));
    });

    it("keeps a tenth of the room for what must arrive", async () => {
      const server = await serverWith({ fateOf: () => "drop", leaseMs: 60_000 });
      const session = await attach(server, { outbox: { events: 50 } });
      let offered = 0;
      while (session.offer(event(0))) offered++;
      expect(offered).to.equal(45);
      for (const n of upTo(5)) await session.report(event(n));
    });

    it("hears each command once, also one that came before it listened, and answers each time", async () => {
      const server = await serverWith();
      const session = await attach(server);
      await session.report(event(1));
      await server.until("it to be attached", () => server.events.length === 1);
      server.command(CommandKind.COMMAND_KIND_PAUSE);
      server.command(CommandKind.COMMAND_KIND_PAUSE);
      await new Promise((resolve) => setTimeout(resolve, 50));
      const heard: CommandKind[] = [];
      session.onCommand(async ({ kind }) => {
        heard.push(kind);
        return "not now";
      });
      const answers = () => server.said.filter((frame) => frame.$case === "commandAck");
      await server.until("the answer", () => answers().length > 0);
      server.cut();
      await server.until("a second hello", () => server.hellos.length === 2);
      server.command(CommandKind.COMMAND_KIND_PAUSE);
      await server.until("the answer again", () => answers().length === 2);
      expect(heard).to.deep.equal([CommandKind.COMMAND_KIND_PAUSE]);
      expect(answers()[1]).to.deep.equal({
        $case: "commandAck",
        value: { commandId: "command-COMMAND_KIND_PAUSE", refused: "not now" },
      });
    });

    it("answers a command whose handler fails", async () => {
      const server = await serverWith();
      const session = await attach(server);
      session.onCommand(() => {
        throw new Error("no hands");
      });
      server.command(CommandKind.COMMAND_KIND_CANCEL);
      await server.until("the answer", () => server.said.length > 0);
      expect(server.said[0]).to.deep.include({
        value: { commandId: "command-COMMAND_KIND_CANCEL", refused: "the executor failed to do it: no hands" },
      });
    });

    it("is refused with the server's own error when it is not taken in", async () => {
      const refusal = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out.");
      const error = await rejection(attach(await serverWith({ onHello: () => refusal })));
      expect(error).to.be.instanceOf(AppError).and.include({ reason: "TOKEN_EXPIRED", code: "unauthenticated" });
    });

    it("aborts its signal when another executor took over, and does not come back", async () => {
      const refusal = new AppError("precondition", "STALE_LEASE", "Somebody else has it.", {
        detail: { kind: "StaleLease", heldEpoch: 1n, currentEpoch: 2n },
      });
      const server = await serverWith({ onHello: (stream) => (stream === 2 ? refusal : undefined) });
      const session = await attach(server);
      await session.report(event(1));
      const stopped = new Promise((resolve) => session.signal.addEventListener("abort", resolve));
      server.cut();
      await stopped;
      expect(session.signal.reason).to.deep.include({ reason: "STALE_LEASE", detail: refusal.detail });
      expect((await session.ended).kind).to.equal("refused");
      expect((await rejection(session.report(event(2)))).message).to.equal("Somebody else has it.");
      expect((await session.complete(completed)).kind).to.equal("refused");
      expect(server.hellos).to.have.length(2);
    });

    it("attaches again when a newer stream took the place of this one", async () => {
      const superseded = new AppError("unavailable", "STREAM_SUPERSEDED", "A newer stream is open.");
      const server = await serverWith({ onHello: (stream) => (stream === 2 ? superseded : undefined) });
      const session = await attach(server);
      await session.report(event(1));
      server.cut();
      await server.until("a third hello", () => server.hellos.length === 3);
      await session.complete(completed);
      expect(numbersOf(server)).to.deep.equal([1]);
    });

    it("gives a server up that is silent for half a lease, and loses nothing by it", async () => {
      const server = await serverWith({ isDeaf: (stream) => stream === 1, leaseMs: 3_000 });
      const session = await attach(server);
      const before = performance.now();
      await server.until("a second hello", () => server.hellos.length === 2);
      expect(performance.now() - before, "within the lease").to.be.lessThan(3_000);
      await reportAll(session, 10);
      await session.complete(completed);
      expect(numbersOf(server)).to.deep.equal(upTo(10));
    });

    it("gives a server up that answers heartbeats and acknowledges nothing", async () => {
      const server = await serverWith({ fateOf: () => (server.hellos.length === 1 ? "drop" : "apply"), leaseMs: 300 });
      const session = await attach(server);
      await reportAll(session, 10);
      await server.until("a second hello", () => server.hellos.length === 2);
      await session.complete(completed);
      expect(numbersOf(server)).to.deep.equal(upTo(10));
    });

    it("goes to the next server when one is gone, and back when that is gone too", async () => {
      const [one, two] = [await serverWith(), await serverWith()];
      const session = await attach([one, two]);
      await reportAll(session, 5);
      await one.until("the events", () => one.events.length === 5);
      two.events.push(...one.events); // what they share is the database
      one.send({ $case: "drain", value: { graceMs: 5_000 } });
      await two.until("a hello elsewhere", () => two.hellos.length === 1);
      await session.report(event(6));
      await two.until("the event", () => two.events.length === 6);
      one.events.push(two.events.at(-1)!);
      two.cut();
      await one.until("it to be back", () => one.hellos.length === 2);
      await session.complete(completed);
      expect(numbersOf(one)).to.deep.equal(upTo(6));
    });

    it("waits at the end of a drain for what was sent, and sends nothing new", async () => {
      const server = await serverWith({ fateOf: () => "ack-late" });
      const session = await attach(server, { outbox: { batchEvents: 10 } });
      await reportAll(session, 20);
      await server.until("a batch", () => server.faults > 0);
      server.send({ $case: "drain", value: { graceMs: 5_000 } });
      await reportAll(session, 20);
      await server.until("a second hello", () => server.hellos.length === 2);
      await session.complete(completed);
      expect(server.events.map(({ sequence }) => Number(sequence))).to.deep.equal(upTo(40));
    });

    it("says goodbye, with the reason, when it leaves", async () => {
      const server = await serverWith();
      const session = await attach(server);
      await session.leave("no time left");
      expect(await session.ended).to.deep.equal({ kind: "left" });
      expect(server.said).to.deep.equal([{ $case: "goodbye", value: { reason: "no time left" } }]);
      expect(session.signal.aborted).to.equal(true);
    });

    it("gives open sessions back when the connection is closed", async () => {
      const server = await serverWith();
      const connection = connect(server);
      const session = await connection.attach({ spec: specOf(600), token: "t" });
      await connection.close();
      expect((await session.ended).kind).to.equal("left");
      expect(server.said.map(({ $case }) => $case)).to.deep.equal(["goodbye"]);
      expect((await rejection(connection.attach({ spec: specOf(600), token: "t" }))).message).to.match(/closed/);
    });

    it("opens channels for other calls to each server in turn, until it is closed", async () => {
      const [one, other] = [await serverWith(), await serverWith()];
      const connection = connect([one, other]);
      const channels = [connection.openChannel(), connection.openChannel(), connection.openChannel()];
      const targets = channels.map((channel) => channel.getTarget().replace(/^dns:/, ""));
      expect(targets).to.deep.equal([one.address, other.address, one.address]);
      for (const channel of channels) channel.close();
      const session = await connection.attach({ spec: specOf(600), token: "the first token" });
      expect(session.token()).to.equal("the first token");
      await connection.close();
      expect(() => connection.openChannel()).to.throw(AppError, /closed/);
    });

    it("is lost when no server answers for many leases", async () => {
      const server = await serverWith();
      const connection = connect(server);
      const session = await connection.attach({ spec: specOf(20), token: "t" });
      await server.close();
      const end = await session.ended;
      expect(end.kind === "lost" && end.error.code).to.equal("unavailable");
      expect(session.signal.aborted).to.equal(true);
    });

    it("goes on for as long as its token lives while every server is gone", async () => {
      const until = Date.now() + 3_000; // whole seconds in the token
      const token = await jwt(4);
      const server = await serverWith();
      const connection = connect(server);
      const session = await connection.attach({ spec: specOf(20), token });
      await server.close();
      await session.ended;
      expect(Date.now()).to.be.greaterThan(until);
    });

    it("asks for a fresh token at two thirds of its life, without anything else to say", async () => {
      const server = await serverWith({ leaseMs: 15_000 });
      const fresh = await jwt(600);
      const session = await attach(server, {}, await jwt(1));
      const asked = () => server.said.filter((frame) => frame.$case === "tokenRefresh").length;
      await server.until("the wish", () => asked() === 1);
      await server.until("the wish again, for want of an answer", () => asked() === 2);
      server.send({ $case: "tokenGrant", value: { token: fresh, expiresAt: undefined } });
      await session.report(event(1));
      await server.until("the event", () => server.events.length === 1);
      server.cut();
      await server.until("a second hello", () => server.hellos.length === 2);
      expect(server.tokens.at(-1)).to.equal(fresh);
      expect(session.token(), "what calls beside the stream carry").to.equal(fresh);
      await session.complete(completed);
    });

    it("refuses an event no server takes, and goes on", async () => {
      const server = await serverWith();
      const session = await attach(server);
      const text = "x".repeat(1_100_000);
      const tooLarge = session.report({
        $case: "consoleMessage",
        value: { operatorId: "o", worker: 0, level: 1, text },
      });
      expect((await rejection(tooLarge)).message).to.match(/consoleMessage.*too large/);
      await session.report(event(1));
      await session.complete(completed);
      expect(numbersOf(server)).to.deep.equal([1]);
    });
  });

describe("a session on a thread of its own", () => {
  let server: FakeServer;
  let connection: ExecutorConnection;
  afterEach(async () => {
    await connection.close();
    await server.close();
  });
  const attach = async (options: Partial<ConnectOptions> = {}) => {
    server = await startFakeServer({ leaseMs: 600 });
    connection = connectExecutor({
      servers: [{ address: server.address }],
      executorId: "executor-1",
      software: "test/1",
      ...options,
    });
    return connection.attach({ spec: specOf(600), token: "token" });
  };

  it("keeps its lease while the program's thread does nothing else for three leases", async () => {
    // The fake server is on this thread too, so the program is a process of its own.
    server = await startFakeServer({ leaseMs: 600 });
    connection = connectExecutor({ servers: [{ address: server.address }], executorId: "unused", software: "test/1" });
    const program = new URL("./blocked-program.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, ["--import", "tsx", program, server.address], { stdio: "inherit" });
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    await server.until("the events before", () => server.events.length === 10);
    const before = server.heartbeats;
    await server.until("heartbeats for three leases", () => server.heartbeats >= before + 9);
    expect(server.events).to.have.length(10);
    expect(await exited).to.equal(0);
    expect(server.events).to.have.length(20);
    expect(server.hellos).to.have.length(1);
    expect(server.manifests).to.have.length(1);
    expect(server.violations).to.deep.equal([]);
  });

  it("is given back when the program's thread hangs beyond the limit", async () => {
    server = await startFakeServer({ leaseMs: 600 });
    connection = connectExecutor({ servers: [{ address: server.address }], executorId: "unused", software: "test/1" });
    const program = new URL("./blocked-program.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, ["--import", "tsx", program, server.address, "500"], { stdio: "inherit" });
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    await server.until("its goodbye", () => server.said.length > 0);
    expect(server.said[0]).to.deep.equal({
      $case: "goodbye",
      value: { reason: "The executor's main thread has not answered for 1 s." },
    });
    expect(await exited, "what the program finds when it is back").to.equal(7);
  });

  it("is lost, with a clear error, when the thread breaks", async () => {
    const session = await attach();
    await session.report(event(1));
    const broken = new Connection(
      { servers: [] },
      startStreamThread(UNUSED, new URL("./broken-thread.mjs", import.meta.url)),
    );
    const attaching = broken.attach({ spec: specOf(600), token: "t" });
    const error = await rejection(attaching);
    expect(error).to.be.instanceOf(AppError);
    expect(error.message).to.match(/The thread that speaks with the server broke \(made to break\); start/);
    expect(await rejection(broken.attach({ spec: specOf(600), token: "t" }))).to.equal(error);
    await broken.close();
    await session.complete(completed);
  });
});
