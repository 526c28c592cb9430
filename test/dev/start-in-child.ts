// Starts an embedded server from a process of its own, so that tests can be another user, have another environment, or
// kill the starter. Run as a program it prints one line of JSON, and stays until its standard input ends.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { startEmbeddedPostgres } from "../../src/dev/embedded-postgres.js";

export interface ChildReport {
  error?: string;
  pid: number;
  adopted: boolean;
  host: string;
}

export interface StartedChild {
  process: ChildProcess;
  report: ChildReport;
  /** Lets the child end by itself, without stopping the server. */
  leave(): Promise<void>;
}

/** `prefix` is a command that runs the rest of its arguments; `env` replaces the environment. */
export async function startInChild(
  dataDir: string,
  { prefix = [], env = process.env }: { prefix?: string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<StartedChild> {
  const program = [process.execPath, "--import", import.meta.resolve("tsx"), fileURLToPath(import.meta.url), dataDir];
  const [command, ...args] = [...prefix, ...program];
  const child = spawn(command!, args, { env, stdio: ["pipe", "pipe", "inherit"], detached: true });
  const exited = once(child, "exit");
  const [line] = await Promise.race([once(createInterface(child.stdout!), "line"), exited.then(() => [undefined])]);
  if (line === undefined) throw new Error("the child ended without a report");
  const leave = async () => {
    child.stdin!.end();
    await exited;
  };
  return { process: child, report: JSON.parse(line) as ChildReport, leave };
}

async function main(dataDir: string): Promise<void> {
  try {
    const { pid, adopted, connection } = await startEmbeddedPostgres({ dataDir, durable: true });
    console.log(JSON.stringify({ pid, adopted, host: connection.host }));
  } catch (error) {
    console.log(JSON.stringify({ error: (error as Error).message }));
  }
  process.stdin.resume();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2]!);
