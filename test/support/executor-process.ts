// Executors as processes of their own, from source, that serve the unit of a test server.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { callUnary } from "../../src/rpc/channel.js";
import { PROJECT, type TestServer, UNIT } from "./test-server.js";

const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Starts an executor of that name and waits until it serves. */
export async function startExecutorProcess(server: TestServer, name: string, slots = 1): Promise<ChildProcess> {
  const unit = { projectId: PROJECT, computingUnitId: UNIT };
  const { token } = await callUnary(server.client.access, "createServeToken", unit, { token: server.owner });
  const tokenFile = join(server.directory, `${name}.token`);
  await writeFile(tokenFile, token, { mode: 0o600 });
  const child = spawn(process.execPath, ["--import", "tsx", CLI, "executor"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      POSTERN_SERVER: server.address,
      POSTERN_TOKEN_FILE: tokenFile,
      POSTERN_EXECUTOR_ID: name,
      POSTERN_WORK_DIR: join(server.directory, name),
      POSTERN_LOG_LEVEL: "error",
      POSTERN_THREADS: "1",
      POSTERN_SLOTS: `${slots}`,
    },
  });
  await once(child.stdout!, "data");
  return child;
}

/** Kills it, unless it has ended, and waits until it is gone. */
export async function killProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "close");
}
