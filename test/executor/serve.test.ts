import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { SignJWT } from "jose";
import { CommandKind, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import { type ServeDeps, serve } from "../../src/executor/stream/serve.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { columns, planOf, scan, specOf, userFunction } from "../support/physical-plans.js";
import { scratch, silent, thisHost } from "../support/plan-runs.js";

const N = columns("n:long");

describe("a pooled executor", () => {
  let place: ReturnType<typeof scratch>;
  let server: FakeServer;
  let stop: AbortController;
  let serving: Promise<unknown> | undefined;
  beforeEach(() => {
    place = scratch();
    stop = new AbortController();
    serving = undefined;
  });
  afterEach(async () => {
    stop.abort();
    await serving;
    await server.close();
    place.remove();
  });

  async function deps(more: Partial<ServeDeps> = {}, options: FakeServerOptions = {}): Promise<ServeDeps> {
    server = await startFakeServer(options);
    const client = server.client();
    return {
      openAttach: client.openAttach,
      openServe: client.openServe,
      readToken: () => "serve-token",
      executorId: "executor-1",
      host: await thisHost(),
      memoryLimitMb: 256,
      threads: 1,
      workDirectory: join(place.directory, "work"),
      log: silent,
      slots: 1,
      onWelcome: () => {},
      graceMs: 10_000,
      ...more,
    };
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
    const serveDeps = await deps({ onWelcome: (id) => (unit = id), slots: 2 });
    serving = serve(serveDeps, stop.signal);
    await server.until("its hello", () => server.serveHellos.length === 1);
    expect(server.serveHellos[0]).to.include({ executorId: "executor-1", slots: 2 });
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
    serving = serve(await deps(), stop.signal);
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
    serving = serve(await deps({ slots: 3 }), stop.signal);
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
    serving = serve(await deps(), stop.signal);
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
    serving = serve(await deps({ readToken: () => inFile }), stop.signal);
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
    const serveDeps = await deps();
    const running = serve(serveDeps, stop.signal);
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(endless(), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    stop.abort();
    await server.until("its goodbye", hasSaid("goodbye"));
    expect(server.manifests).to.deep.equal([]);
    server.command(CommandKind.COMMAND_KIND_CANCEL);
    expect(await running).to.deep.equal({ kind: "stopped" });
    expect(server.manifests).to.have.length(1);
  });

  it("asked to stop, gives back what does not finish within the grace", async () => {
    const running = serve(await deps({ graceMs: 50 }), stop.signal);
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(endless(), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    stop.abort();
    expect(await running).to.deep.equal({ kind: "stopped" });
    expect(server.said.map((f) => f.$case)).to.deep.equal(["goodbye"]);
  });

  it("ends when the server refuses its token", async () => {
    const serveDeps = await deps({
      openServe: () => ({
        incoming: {
          [Symbol.asyncIterator]: () => ({
            next: () => Promise.reject(new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out.")),
          }),
        },
        send: () => Promise.resolve(),
        end: () => {},
        cancel: () => {},
      }),
    });
    const end = await serve(serveDeps, stop.signal);
    expect(end.kind === "refused" && end.error.reason).to.equal("TOKEN_EXPIRED");
  });
});
