import { Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { expect } from "chai";
import {
  type AttachRequest,
  type AttachResponse,
  ExecutionServiceService,
  ExecutionSpec,
  ExecutionState,
  Manifest,
} from "../../src/contract/postern/v1/execution.js";
import { connectExecutor, type ExecutorConnection, type ExecutorSession } from "../../src/executor-session/connect.js";
import { MANIFEST_BYTES } from "../../src/executor-session/manifest-size.js";
import { type FakeServer, startFakeServer } from "../support/fake-server.js";
import { rejection } from "../support/rejection.js";

const LEASE_MS = 600;
const spec = ExecutionSpec.fromPartial({ executionId: "execution-1", attempt: 1, epoch: 1n, leaseMs: LEASE_MS });
const failedWith = (detail: string) =>
  Manifest.fromPartial({
    state: ExecutionState.EXECUTION_STATE_FAILED,
    failure: { reason: "USER_CODE_ERROR", message: "It broke.", detail },
  });

describe("the last report of an execution", () => {
  let connection: ExecutorConnection | undefined;
  const toClose: (() => unknown)[] = [];
  afterEach(async () => {
    await connection?.close();
    for (const close of toClose.splice(0)) await close();
  });

  function connect(address: string): ExecutorConnection {
    connection = connectExecutor({
      servers: [{ address }],
      executorId: "executor-1",
      software: "test/1",
      thread: false,
    });
    return connection;
  }
  async function fakeServer(): Promise<FakeServer> {
    const server = await startFakeServer({ leaseMs: LEASE_MS });
    toClose.push(() => server.close());
    return server;
  }

  it("is refused before anything is sent when it does not fit into a message; a shorter one can follow", async () => {
    const server = await fakeServer();
    const session = await connect(server.address).attach({ spec, token: "t" });
    const error = await rejection(session.complete(failedWith("x".repeat(5 * 1024 * 1024))));
    expect(error).to.include({ code: "invalid", reason: "INVALID_REQUEST" });
    expect(error.message).to.match(/^A manifest of 52\d+ bytes is too large: 4193280 at most\. Shorten its failure /);
    expect(server.manifests).to.deep.equal([]);
    expect((await session.complete(failedWith("short"))).kind).to.equal("reported");
  });

  it("is taken when it just fits", async () => {
    const server = await fakeServer();
    const session = await connect(server.address).attach({ spec, token: "t" });
    const end = await session.complete(failedWith("x".repeat(MANIFEST_BYTES - 100)));
    expect(end.kind).to.equal("reported");
    expect(server.hellos).to.have.length(1);
  });

  it("ends the session when the server answers it with the same error each time", async () => {
    let streams = 0;
    let completes = 0;
    const address = await serverThat((call: ServerDuplexStream<AttachRequest, AttachResponse>) => {
      streams++;
      call.on("error", () => {}); // the end it was given
      call.on("data", ({ frame }: AttachRequest) => {
        if (frame?.$case === "hello") welcome(call);
        if (frame?.$case !== "complete") return;
        completes++;
        call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "message larger than max" });
      });
    });
    const session = await connect(address).attach({ spec, token: "t" });
    const end = await session.complete(failedWith("x"));
    expect(end.kind === "refused" && end.error).to.include({ code: "exhausted" });
    expect(end.kind === "refused" && end.error.message).to.match(/message larger than max/);
    expect(completes).to.be.within(3, 20).and.to.equal(streams);
  });

  const served: [what: string, run: (session: ExecutorSession) => Promise<Manifest>, failure: RegExp][] = [
    ["too large", async () => failedWith("x".repeat(5 * 1024 * 1024)), /A manifest of \d+ bytes is too large/],
    ["no manifest at all", async () => undefined as unknown as Manifest, /The executor failed: /],
    ["an error without end", () => Promise.reject(new Error("x".repeat(5_000_000))), /^The executor failed: x{16000}/],
  ];
  for (const [what, run, failure] of served)
    it(`is a failure that says so when served work ends with ${what}, and its slot is free again`, async () => {
      const server = await fakeServer();
      const stop = new AbortController();
      const serving = connect(server.address).serve(
        { readToken: () => "t", slots: 1, graceMs: 5_000, run },
        stop.signal,
      );
      await server.until("it to serve", () => server.serveHellos.length === 1);
      server.assign(spec, "t");
      await server.until("the report", () => server.manifests.length === 1);
      expect(server.manifests[0]!.failure!.message).to.match(failure);
      expect(server.manifests[0]!.state).to.equal(ExecutionState.EXECUTION_STATE_FAILED);
      stop.abort();
      expect(await serving).to.deep.equal({ kind: "stopped" });
    });

  it("gives an execution back whose failure cannot even be put into words", async () => {
    const server = await fakeServer();
    const stop = new AbortController();
    const run = () => Promise.reject(Object.create(null));
    const serving = connect(server.address).serve(
      { readToken: () => "t", slots: 1, graceMs: 60_000, run },
      stop.signal,
    );
    await server.until("it to serve", () => server.serveHellos.length === 1);
    server.assign(spec, "t");
    await server.until("its goodbye", () => server.said.some(({ $case }) => $case === "goodbye"));
    stop.abort();
    expect(await serving).to.deep.equal({ kind: "stopped" });
  });

  async function serverThat(attach: (call: ServerDuplexStream<AttachRequest, AttachResponse>) => void) {
    const server = new Server();
    server.addService({ attach: ExecutionServiceService.attach }, { attach });
    toClose.push(() => server.forceShutdown());
    return new Promise<string>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(`127.0.0.1:${port}`),
      ),
    );
  }
});

function welcome(call: ServerDuplexStream<AttachRequest, AttachResponse>): void {
  const value = { lastSequence: 0n, epoch: 1n, leaseMs: LEASE_MS, credit: 10n, state: 2, serverId: "stubborn" };
  call.write({ frame: { $case: "welcome", value } });
}
