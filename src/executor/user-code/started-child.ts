// One process for user code, from its start until nothing of it is left: no process, no directory.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { chmod, chown, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { openFiles } from "./process-files.js";
import { createProcessTree, type ProcessTree, type TreeLimits } from "./process-tree.js";
import type { ChildCommand, Sandbox } from "./sandbox.js";

export interface StartedChild {
  /** Its standard input waits for the first frame; descriptor 3 is for its replies. */
  process: ChildProcess;
  /** Its working directory, where the host's files are in its sight. Removed with it. */
  directory: string;
  /** The process and all that come from it. */
  tree: ProcessTree;
  /** How the process itself ended. Known before `gone`, and also to whoever asks late. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Resolves when every process of the tree has ended, and the directory is removed. */
  gone: Promise<void>;
}

const ENDING_MS = 5_000;

/** Starts a child in a directory of its own below `directory`; rejects when the program cannot be started at all. */
export async function startProcess(
  deps: { sandbox: Sandbox; directory: string; limits: TreeLimits },
  command: ChildCommand,
): Promise<StartedChild> {
  const directory = await mkdtemp(join(deps.directory, "postern-user-code-"));
  const nothing = openSync("/dev/null", "r");
  let child: ChildProcess;
  try {
    const { user } = deps.sandbox;
    if (user) await chown(directory, user.uid, user.gid);
    const [program, ...args] = deps.sandbox.wrap(command);
    child = spawn(program!, args, {
      env: {},
      cwd: directory,
      detached: true, // a process group and session of its own
      stdio: ["pipe", "pipe", "pipe", "pipe", ...overOpenFiles(nothing)],
    });
    await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  } finally {
    closeSync(nothing);
  }
  // What is written to a child that has ended is lost, and its end is told by `ended`.
  for (const pipe of child.stdio) pipe?.on("error", () => {});
  child.on("error", () => {});
  const tree = createProcessTree({ pid: child.pid!, limits: deps.limits });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("exit", (code, signal) => {
      // At once: while a zombie of it lasted its number could belong to nobody else.
      tree.finish();
      resolve({ code, signal });
    });
  });
  const gone = ended.then(async () => {
    for (const until = Date.now() + ENDING_MS; tree.alive().length > 0 && Date.now() < until; ) {
      tree.kill();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await removeDirectory(directory);
  });
  gone.catch(() => {}); // whoever waits for it is told; it may fail before anyone does
  return { process: child, directory, tree, ended, gone };
}

/**
 * Standard streams from 4 on that put `nothing` in the place of every file this process has open now. DuckDB opens files
 * so that they are inherited: user code must not read them, and a child that waits must not keep them once they are
 * removed. What is opened while the child starts is closed by the child before it runs user code.
 */
function overOpenFiles(nothing: number): (number | "ignore")[] {
  const files = openFiles().filter((descriptor) => descriptor > 3 && descriptor !== nothing);
  const streams: (number | "ignore")[] = Array(Math.max(0, ...files.map((descriptor) => descriptor - 3))).fill(
    "ignore",
  );
  for (const descriptor of files) streams[descriptor - 4] = nothing;
  return streams;
}

/** Also where user code has taken the executor's right to look into it; links are removed, and never followed. */
async function removeDirectory(directory: string): Promise<void> {
  try {
    await rm(directory, { recursive: true, force: true });
  } catch {
    await openUp(directory);
    await rm(directory, { recursive: true, force: true });
  }
}

async function openUp(directory: string): Promise<void> {
  await chmod(directory, 0o700);
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await openUp(join(directory, entry.name));
}
