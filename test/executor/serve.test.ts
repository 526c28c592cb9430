import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Server, ServerCredentials, type ServerDuplexStream, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { expect } from "chai";
import { SignJWT } from "jose";
import { CommandKind, ExecutionServiceService, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import { shareChannel } from "../../src/executor/cache/channel-share.js";
import { runSession } from "../../src/executor/run-session.js";
import { connectExecutor, type ExecutorConnection } from "../../src/executor-session/connect.js";
import type { ConnectOptions, ServeOptions } from "../../src/executor-session/session-api.js";
import { statusOf } from "../../src/rpc/status.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { columns, planOf, scan, specOf, userFunction } from "../support/physical-plans.js";
import { scratch, silent, thisHost } from "../support/plan-runs.js";

const N = columns("n:long");

describe("a pooled executor", () => {
  let place: ReturnType<typeof scratch>;
  let server: FakeServer;
  let stop: AbortController;
  let serving: Promise<unknown>;
  beforeEach(() => {
    place = scratch();
    stop = new AbortController();
    serving = Promise.resolve();
  });
  afterEach(async () => {
    stop.abort();
    await serving;
    await connection.close();
    await server.close();
    place.remove();
  });

  let connection: ExecutorConnection;
  /** Starts to serve; resolves when the server listens. */
  async function start(
    more: Partial<ServeOptions & ConnectOptions> = {},
    options: FakeServerOptions & { refuse?: AppError } = {},
  ): Promise<void> {
    server = await startFakeServer(options);
    const host = await thisHost();
    const runDeps = {
      host,
      memoryLimitMb: 256,
      threads: 1,
      workDirectory: join(place.directory, "work"),
      cancelGraceMs: 0,
      holdChannel: shareChannel(() => connection.openChannel()),
      log: silent,
    };
    connection = connectExecutor({
      servers: [server],
      executorId: "executor-1",
      software: "test/1",
      thread: false,
      ...more,
    });
    serving = connection.serve(
      {
        readToken: () => "serve-token",
        slots: 1,
        graceMs: 10_000,
        run: (session) => runSession(runDeps, session),
        ...more,
      },
      stop.signal,
    );
    serving.catch(() => {}); // told to whoever waits for it
  }
  function specFor(code: string, attempt = 1) {
    const path = join(place.directory, "n.csv");
    writeFileSync(path, "n\n1\n2\n");
    const plan = planOf(
      [
        scan("s", N, { uri: pathToFileURL(path).href }),
        { ...userFunction("f", "javascript", N, code, N), materialized: true },
      ],
      ["s>f"],
    );
    return specOf(plan, `${pathToFileURL(join(place.directory, `results-${attempt}`)).href}/`);
  }
  const quick = () => specFor("function processTuple(t) { return t; }");
  const endless = () => specFor("function processTuple(t) { for (;;) {} }");
  const hasSaid = (kind: string) => () => server.served.some((frame) => frame.$case === kind);

  it("tells what it can do, takes an execution, runs it, and tells that its slot is free again", async () => {
    let unit = "";
    await start({ onWelcome: (id) => (unit = id), slots: 2, labels: { zone: "a" } });
    await server.until("its hello", () => server.serveHellos.length === 1);
    expect(server.serveHellos[0]).to.include({ executorId: "executor-1", slots: 2 });
    expect(server.serveHellos[0]?.labels).to.deep.equal({ zone: "a" });
    const spec = quick();
    server.assign(spec, "execution-token");
    await server.until("the end of the execution", hasSaid("slotsChanged"));
    expect(server.served).to.deep.equal([
      { $case: "assignmentAck", value: { executionId: spec.executionId, refused: "" } },
      { $case: "slotsChanged", value: { freeSlots: 2 } },
    ]);
    expect(server.manifests[0]?.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    expect(server.tokens).to.deep.equal(["serve-token", "execution-token"]);
    expect(unit).to.equal("unit");
  });

  it("refuses more than it has room for, and takes the same assignment twice as one", async () => {
    await start();
    await server.until("its hello", () => server.serveHellos.length === 1);
    const [first, second] = [endless(), quick()];
    server.assign(first, "t");
    server.assign(first, "t");
    server.assign(second, "t");
    await server.until("three answers", () => server.served.length === 3);
    expect(server.served.map((f) => f.$case === "assignmentAck" && f.value.refused)).to.deep.equal([
      "",
      "",
      "every slot is taken",
    ]);
    await server.until("it to attach", () => server.hellos.length === 1);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await server.until("the end", hasSaid("slotsChanged"));
  });

  it("keeps its executions when the connection breaks, and tells what is free on the next", async () => {
    await start({ slots: 3 });
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(endless(), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    server.cut();
    await server.until("its second hello", hasSaid("slotsChanged"));
    expect(server.serveHellos).to.have.length(2);
    expect(server.served.at(-1)).to.deep.equal({ $case: "slotsChanged", value: { freeSlots: 2 } });
    await server.until("the execution to attach again", () => server.hellos.length === 2);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    await server.until("its end", () => server.manifests.length === 1);
  });

  it("connects elsewhere when the server drains", async () => {
    await start();
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.sendToPool({ $case: "drain", value: { graceMs: 100 } });
    await server.until("its second hello", () => server.serveHellos.length === 2);
  });

  it("reads its token file again when it connects again, and keeps the longer-lived token", async () => {
    const key = new TextEncoder().encode("a key only this test knows, long enough");
    const jwt = (seconds: number) =>
      new SignJWT({ seconds })
        .setProtectedHeader({ alg: "HS256" })
        .setIssuedAt()
        .setExpirationTime(`${seconds}s`)
        .sign(key);
    const [first, second, third] = await Promise.all([jwt(100), jwt(200), jwt(150)]);
    let inFile = first;
    await start({ readToken: () => inFile });
    await server.until("its hello", () => server.serveHellos.length === 1);
    inFile = second;
    server.cut();
    await server.until("its second hello", () => server.serveHellos.length === 2);
    inFile = third;
    server.cut();
    await server.until("its third hello", () => server.serveHellos.length === 3);
    expect(server.tokens).to.deep.equal([first, second, second]);
  });

  it("asked to stop, takes nothing more, and lets what runs finish", async () => {
    await start();
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(endless(), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    stop.abort();
    await server.until("its goodbye", hasSaid("goodbye"));
    expect(server.manifests).to.deep.equal([]);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect(await serving).to.deep.equal({ kind: "stopped" });
    expect(server.manifests).to.have.length(1);
  });

  it("asked to stop, gives back what does not finish within the grace", async () => {
    await start({ graceMs: 50 });
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(endless(), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    stop.abort();
    expect(await serving).to.deep.equal({ kind: "stopped" });
    expect(server.said.map((f) => f.$case)).to.deep.equal(["goodbye"]);
  });

  it("reports an execution whose work throws as failed", async () => {
    await start({ run: () => Promise.reject(new Error("no engine")) });
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(quick(), "t");
    await server.until("the end", hasSaid("slotsChanged"));
    expect(server.manifests[0]).to.deep.include({ state: ExecutionState.EXECUTION_STATE_FAILED });
    expect(server.manifests[0]?.failure?.message).to.equal("The executor failed: no engine");
  });

  it("frees a slot only when the work has ended too, after its execution was taken over", async () => {
    let end = () => {};
    const working = new Promise<void>((resolve) => {
      end = resolve;
    });
    const refusal = new AppError("precondition", "STALE_LEASE", "Somebody else has it.");
    let stopped = false;
    await start(
      {
        async run(session) {
          session.signal.addEventListener("abort", () => (stopped = true));
          await working;
          throw new Error("stopped");
        },
      },
      { onHello: (stream) => (stream > 1 ? refusal : undefined) },
    );
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(quick(), "t");
    await server.until("it to attach", () => server.hellos.length === 1);
    server.cut();
    await server.until("it to be refused", () => server.hellos.length === 2);
    while (!stopped) await new Promise((resolve) => setTimeout(resolve, 5));
    await server.until("its return", () => server.serveHellos.length === 2);
    const free = () => server.served.flatMap((f) => (f.$case === "slotsChanged" ? [f.value.freeSlots] : []));
    await server.until("what is free", () => free().length > 0);
    expect(free()).not.to.include(1);
    end();
    await server.until("its slot", () => free().at(-1) === 1);
  });

  it("ends when the server refuses its token", async () => {
    const refusal = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out.");
    const refusing = await startRefusingServer(refusal);
    try {
      await start({ servers: [refusing] });
      expect(await serving).to.deep.include({ kind: "refused" });
      expect(((await serving) as { error: AppError }).error).to.include({ reason: "TOKEN_EXPIRED" });
    } finally {
      refusing.close();
    }
  });
});

/** Says no to every Serve. */
async function startRefusingServer(refusal: AppError): Promise<{ address: string; close(): void }> {
  const refusing = new Server();
  const serve = (call: ServerDuplexStream<unknown, unknown>) =>
    void call.emit(
      "error",
      statusOf(refusal, () => {}),
    );
  refusing.addService(ExecutionServiceService, { serve } as unknown as UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) =>
    refusing.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return { address: `127.0.0.1:${port}`, close: () => refusing.forceShutdown() };
}
