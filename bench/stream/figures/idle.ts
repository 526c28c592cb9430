// A thousand executors that are attached and have nothing to say but heartbeats: the memory and the share of a core
// they cost the server, and how long a heartbeat waits for its answer while clients list executions without a pause.
// Beside these: the server's memory before they came, the whole core, and the lease.
import { setTimeout as delay } from "node:timers/promises";
import { atMost } from "../../figure.js";
import { nowUs } from "../load/clock.js";
import type { FigureGroup } from "../plan.js";
import { PROJECT } from "../system.js";
import { coresOf, measureUse, residentMb } from "../usage.js";

const LEASE_MS = 15_000;
const LISTING_CLIENTS = 4;
const SETTLE_MS = 3_000;

export const idle: FigureGroup = {
  figures: ["idle-memory", "idle-cpu", "idle-heartbeat-p99"],
  async *measure({ system, scale, note }) {
    const server = await system.startServer({ leaseMs: LEASE_MS });
    const [executors, listing] = [await system.startLoad(), await system.startLoad()];
    const { planDigest, operators, userToken: token } = system;
    const before = await residentMb(server.pid);
    const executions = await system.makeExecutions(scale.executors);
    const open = { address: server.address, executions, planDigest, operators, perConnection: 1 };
    await executors.call("openExecutors", open);
    await delay(Math.min(SETTLE_MS, scale.idleSeconds * 1_000));

    const pids = { server: server.pid, load: executors.pid, postgres: system.postgresPid };
    const { used } = await measureUse(pids, () => delay(scale.idleSeconds * 1_000));
    note(`idle: ${coresOf(used)}`);

    const fromUs = nowUs();
    const load = { address: server.address, token, projectId: PROJECT, clients: LISTING_CLIENTS };
    const lists = await listing.call("list", { ...load, seconds: scale.idleSeconds });
    const [beats] = await executors.call("heartbeats", [{ fromUs, toUs: nowUs() }]);
    const memory = await residentMb(server.pid);
    note(`idle: ${lists} lists of executions were answered meanwhile, and ${beats!.count} heartbeats`);

    yield { figure: "idle-memory", value: memory, unit: "MB", yardstick: before, bound: atMost(350) };
    yield { figure: "idle-cpu", value: used.server / used.seconds, unit: "cores", yardstick: 1, bound: atMost(0.25) };
    const p99 = beats!.p99Ms;
    yield { figure: "idle-heartbeat-p99", value: p99, unit: "ms", yardstick: LEASE_MS, bound: atMost(LEASE_MS / 3) };
    for (const one of [executors, listing]) await one.call("close");
    for (const one of [executors, listing, server]) await one.stop();
  },
};
