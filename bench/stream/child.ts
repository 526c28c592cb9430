// Processes of a bench: started until they are ready, ended until they are gone, and ended by themselves when the bench
// dies. Each leads a process group of its own, so that Ctrl-C reaches the bench only.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { extname } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { bareEnvironment } from "../../src/dev/child-program.js";
import type { LoadCalls, LoadReply } from "./load/main.js";

/** A program that prints a ready line. */
export interface Program {
  pid: number;
  address: string;
  stop(): Promise<void>;
}

/** The load, whose calls run one after the other in their process. */
export interface Load {
  pid: number;
  call<Name extends keyof LoadCalls>(
    name: Name,
    ...argument: Parameters<LoadCalls[Name]>
  ): Promise<Awaited<ReturnType<LoadCalls[Name]>>>;
  stop(): Promise<void>;
}

const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 15_000;
const LINES_OF_LOG = 10;
const CALL_WITHIN_MS = 180_000;

/** Command line of one of the programs in program.ts, the way this process was run. */
export const benchProgram = (...args: string[]): string[] => [
  ...process.execArgv,
  fileURLToPath(new URL(`program${extname(import.meta.url)}`, import.meta.url)),
  ...args,
];

/** Starts `node <args>` and waits for its ready line; its standard error is appended to `logFile`. */
export async function startProgram(options: {
  args: string[];
  env?: Record<string, string>;
  logFile: string;
}): Promise<Program> {
  const log = await open(options.logFile, "a", 0o600);
  const child = spawn(process.execPath, options.args, {
    env: { ...bareEnvironment(), ...options.env },
    detached: true,
    stdio: ["pipe", "pipe", log.fd],
  });
  await log.close();
  child.stdin!.on("error", () => {}); // it ended first; `exit` tells
  const ready = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout! }).on("line", (line) => {
      if (line.startsWith('{"ready":true')) resolve(String(JSON.parse(line).address));
    });
  });
  const address = await readyOrEnded(child, ready, () => readFile(options.logFile, "utf8"));
  return { pid: child.pid!, address, stop: () => end(child) };
}

/** Starts a load process. */
export async function startLoad(): Promise<Load> {
  const child = spawn(process.execPath, benchProgram("load"), {
    env: bareEnvironment(),
    detached: true,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const waiting = new Map<number, { resolve(result: never): void; reject(error: Error): void }>();
  const ready = new Promise<string>((resolve) => child.once("message", () => resolve("")));
  await readyOrEnded(child, ready, async () => "");
  child.on("message", ({ id, result, error }: LoadReply) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) one?.resolve(result as never);
    else one?.reject(new Error(`The load failed: ${error}`));
  });
  child.once("exit", () => {
    for (const { reject } of waiting.values()) reject(new Error("The load process ended."));
    waiting.clear();
  });
  let last = 0;
  return {
    pid: child.pid!,
    call(name, ...[argument]) {
      const id = ++last;
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`The load did not answer ${name} in time.`)), CALL_WITHIN_MS);
        const settle =
          <Value>(settled: (value: Value) => void) =>
          (value: Value) => {
            clearTimeout(late);
            settled(value);
          };
        waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
        child.send({ id, name, argument });
      });
    },
    stop: () => end(child),
  };
}

async function readyOrEnded<T>(child: ChildProcess, ready: Promise<T>, readLog: () => Promise<string>): Promise<T> {
  const timeout = new AbortController();
  try {
    return await Promise.race([
      ready,
      once(child, "exit", { signal: timeout.signal }).then(([code, killedBy]) => {
        throw new Error(`A program of the bench ended with ${killedBy ?? code} before it was ready.`);
      }),
      delay(READY_WITHIN_MS, undefined, { signal: timeout.signal }).then(() => {
        throw new Error("A program of the bench was not ready in time.");
      }),
    ]);
  } catch (cause) {
    await end(child);
    const said = (await readLog()).trimEnd().split("\n").slice(-LINES_OF_LOG).join("\n");
    throw new Error(`${(cause as Error).message} Its last words:\n${said}`, { cause });
  } finally {
    timeout.abort();
  }
}

/** Asks it to end, then insists. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const insist = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
  await gone;
  clearTimeout(insist);
}
