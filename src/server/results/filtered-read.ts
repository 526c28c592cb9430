// Reads the rows of a result that meet a caller's expression, in a process started for it: DuckDB cannot always be
// interrupted, and a process can be killed. It has no environment, and reads below the result root only.
//
// F1  One statement, checked before (result-reader.ts); it ends within DEADLINE_MS or is killed, at once when nobody waits
//     for its rows any more.
// F2  The process ends with its parent, however that ends.
// F3  It is killed when it holds more than MOST_BYTES (process/memory-watch.ts says why DuckDB's own limit is not enough).
import { fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Row } from "../../contract/postern/v1/port_registry.js";
import { type AppError, invalid } from "../../core/app-error.js";
import type { Schema } from "../../core/plan.js";
import { watchMemory } from "../../process/memory-watch.js";

export interface FilteredRead {
  /** What may be read lies below. */
  directory: string;
  path: string;
  /** Every column of the file. */
  schema: Schema;
  /** Those wanted. */
  columns: Schema;
  where: string;
  offset: bigint;
  limit: number;
}

/** What the process says, once. */
export type FilteredAnswer =
  | { kind: "rows"; rows: Row[]; totalRows: bigint }
  /** The expression fails over these rows; a sentence. */
  | { kind: "refused"; complaint: string }
  | { kind: "failed"; message: string };

const ENTRY = fileURLToPath(new URL(`./filtered-read-process${extname(import.meta.url)}`, import.meta.url));
const DEADLINE_MS = 20_000;
/** DuckDB may have 512 MB, and Node needs some. */
const MOST_BYTES = 800 * 1024 * 1024;

/**
 * Rejects with AppError when the expression fails or takes too long, with the signal's reason once it aborts, and with
 * any other error for what may be the file.
 */
export async function readFiltered(
  read: FilteredRead,
  signal: AbortSignal,
  deadlineMs = DEADLINE_MS,
): Promise<{ rows: Row[]; totalRows: bigint }> {
  signal.throwIfAborted();
  const child = fork(ENTRY, [], {
    // A debugger's port can be listened on once only.
    execArgv: process.execArgv.filter((argument) => !argument.startsWith("--inspect")),
    env: {},
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  let timer: NodeJS.Timeout | undefined;
  let unwatch = () => {};
  let unlisten = () => {};
  try {
    const answer = await new Promise<FilteredAnswer>((resolve, reject) => {
      timer = setTimeout(() => reject(tooSlow(deadlineMs)), deadlineMs);
      unwatch = watchMemory(child.pid, MOST_BYTES, () => reject(tooLarge()));
      const leave = () => reject(signal.reason);
      signal.addEventListener("abort", leave, { once: true });
      unlisten = () => signal.removeEventListener("abort", leave);
      child.once("message", (message: FilteredAnswer) => resolve(message));
      child.once("error", reject);
      child.once("exit", () => reject(new Error("The process that reads the rows ended without an answer.")));
      child.send(read, (error) => error && reject(error));
    });
    switch (answer.kind) {
      case "rows":
        return answer;
      case "refused":
        throw invalid(`where: ${answer.complaint}`);
      case "failed":
        throw new Error(answer.message);
    }
  } finally {
    clearTimeout(timer);
    unwatch();
    unlisten();
    child.removeAllListeners("exit");
    child.on("error", () => {}); // it is killed: what it still has to say is nobody's concern
    child.kill("SIGKILL");
  }
}

const tooLarge = (): AppError => invalid(`where: ${NEEDS_MEMORY}`);

/** The sentence about an expression that needs too much of it. */
export const NEEDS_MEMORY = "it needs too much memory over these rows; make it simpler.";

const tooSlow = (ms: number): AppError =>
  invalid(`where: it takes longer than ${ms / 1_000} s over these rows; make it simpler.`);
