import { once } from "node:events";
import { readdirSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { expect } from "chai";
import { ExecutionSpec, ExecutionState, Manifest, RunState } from "../../src/contract/postern/v1/execution.js";
import { connectExecutor, type EventKind, type ExecutorConnection } from "../../src/executor-session/connect.js";
import { type FakeServer, startFakeServer } from "../support/fake-server.js";
import { scratch } from "../support/plan-runs.js";

const LEASE_MS = 3_000;
const event = (regionId: number): EventKind => ({
  $case: "regionState",
  value: { regionId, state: RunState.RUN_STATE_RUNNING },
});
const spec = (executionId = "execution-1") =>
  ExecutionSpec.fromPartial({ executionId, attempt: 1, epoch: 1n, leaseMs: LEASE_MS });
const completed = Manifest.fromPartial({ state: ExecutionState.EXECUTION_STATE_COMPLETED });
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

/** A proxy whose open connections can fall silent without being closed, as behind a router that forgot them. */
async function startForgetfulProxy(target: string) {
  const [host, port] = target.split(":");
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server: Server = createServer((near) => {
    accepted++;
    const far = connect(Number(port), host);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {}); // the end of the test
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    accepted: () => accepted,
    /** What is open now carries nothing more, in either direction. */
    forget() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

describe("a session on a broken network", () => {
  let server: FakeServer;
  let connection: ExecutorConnection | undefined;
  let place: ReturnType<typeof scratch>;
  beforeEach(async () => {
    place = scratch();
    server = await startFakeServer({ leaseMs: LEASE_MS });
  });
  afterEach(async () => {
    await connection?.close();
    await server.close();
    place.remove();
  });

  const open = (address: string, more: Partial<Parameters<typeof connectExecutor>[0]> = {}) => {
    connection = connectExecutor({
      servers: [{ address }],
      executorId: "executor-1",
      software: "test/1",
      thread: false,
      ...more,
    });
    return connection;
  };

  it("leaves a connection that went dead for a fresh one within the lease", async () => {
    const proxy = await startForgetfulProxy(server.address);
    try {
      const session = await open(proxy.address).attach({ spec: spec(), token: "t" });
      await session.report(event(1));
      await server.until("the event", () => server.events.length === 1);
      proxy.forget();
      const before = performance.now();
      await session.report(event(2));
      await server.until("the second event", () => server.events.length === 2);
      expect(performance.now() - before).to.be.lessThan(LEASE_MS);
      expect(proxy.accepted()).to.equal(2);
      await session.complete(completed);
    } finally {
      await connection?.close();
      await proxy.close();
    }
  });

  it("takes every session of a connection elsewhere when its server drains", async () => {
    const second = await startFakeServer({ leaseMs: LEASE_MS });
    try {
      const executor = open(server.address, { servers: [server, second] });
      const [one, two] = [
        await executor.attach({ spec: spec("one"), token: "t" }),
        await executor.attach({ spec: spec("two"), token: "t" }),
      ];
      server.send({ $case: "drain", value: { graceMs: 5_000 } });
      await second.until("both to be there", () => second.hellos.length === 2);
      for (const session of [one, two]) await session.leave("the test is over");
      expect(second.said.map((f) => f.$case)).to.deep.equal(["goodbye", "goodbye"]);
      expect(server.hellos).to.have.length(2);
    } finally {
      await connection?.close();
      await second.close();
    }
  });

  it("goes on in files while the server takes nothing, and loses nothing of it", async () => {
    let isOpen = false;
    await server.close();
    const options = { leaseMs: 60_000, creditWindow: 10n };
    server = await startFakeServer({ ...options, fateOf: () => (isOpen ? "apply" : "drop") });
    const directory = join(place.directory, "spill");
    const session = await open(server.address, {
      spill: { directory, maxBytes: 10_000_000 },
      outbox: { events: 100 },
    }).attach({ spec: spec(), token: "t" });
    for (const n of upTo(2_000)) await session.report(event(n));
    expect(readdirSync(directory, { recursive: true }).length).to.be.greaterThan(5);
    isOpen = true;
    server.cut();
    await session.complete(completed);
    const numbers = server.events.map(({ kind }) => kind?.$case === "regionState" && kind.value.regionId);
    expect(numbers).to.deep.equal(upTo(2_000));
    expect(server.violations).to.deep.equal([]);
    await connection!.close();
    expect(readdirSync(directory)).to.deep.equal([]);
  });
});
