// An executor whose own thread does nothing for a while between two bursts of events:
// node --import tsx blocked-program.ts <server> [<stall limit in milliseconds>]
import {
  connectExecutor,
  ExecutionSpec,
  ExecutionState,
  Manifest,
  RunState,
} from "../../src/executor-session/connect.js";

const LEASE_MS = 600;
const [address, stallLimitMs] = process.argv.slice(2);
const connection = connectExecutor({
  servers: [{ address: address! }],
  executorId: "executor-1",
  software: "blocked/1",
  stallLimitMs: stallLimitMs ? Number(stallLimitMs) : undefined,
});
const spec = ExecutionSpec.fromPartial({ executionId: "execution-1", attempt: 1, epoch: 1n, leaseMs: LEASE_MS });
const session = await connection.attach({ spec, token: "token" });
const tenEvents = async () => {
  for (let regionId = 1; regionId <= 10; regionId++)
    await session.report({ $case: "regionState", value: { regionId, state: RunState.RUN_STATE_RUNNING } });
};

await tenEvents();
await new Promise((resolve) => setTimeout(resolve, 50)); // they leave this thread
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * LEASE_MS);
if (stallLimitMs) {
  const end = await session.ended;
  if (end.kind === "lost" && session.signal.aborted && /has not answered/.test(end.error.message)) process.exitCode = 7;
} else {
  await tenEvents();
  const end = await session.complete(Manifest.fromPartial({ state: ExecutionState.EXECUTION_STATE_COMPLETED }));
  if (end.kind !== "reported") process.exitCode = 1;
}
await connection.close();
