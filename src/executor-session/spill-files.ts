// Where outboxes go on when their memory is full: files of encoded events, each written once, read back once and removed
// when the server has what is in it. Nobody but this process reads them, and none outlives the connection.
//
// F1  What cannot be written stays in memory: a full or unwritable disk makes the outbox full, and loses nothing.
// F2  Files are 0600 below a directory of mode 0700.
import { mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../core/app-error.js";
import { joinEvents, splitEvents } from "./event-encoding.js";
import type { StreamLog } from "./messages.js";

/** Consecutive events in a file. */
export interface SpilledEvents {
  count: number;
  bytes: number;
  /** Rejects with AppError when they cannot be had any more. */
  read(): Promise<Uint8Array[]>;
  remove(): Promise<void>;
}

/** One for a connection; its outboxes share the space. */
export interface SpillFiles {
  /** Stores events; undefined when there is no room for them now (F1). */
  write(events: readonly Uint8Array[]): Promise<SpilledEvents | undefined>;
  /** Removes everything. */
  close(): Promise<void>;
}

export function openSpillFiles(deps: { directory: string; maxBytes: number; log: StreamLog }): SpillFiles {
  const { maxBytes, log } = deps;
  let directory: Promise<string> | undefined;
  let used = 0;
  let files = 0;
  let told = false;

  async function makeDirectory(): Promise<string> {
    await mkdir(deps.directory, { recursive: true, mode: 0o700 });
    return mkdtemp(join(deps.directory, "outbox-"));
  }

  function theDirectory(): Promise<string> {
    directory ??= makeDirectory().catch((error: unknown) => {
      directory = undefined; // the next file tries again
      throw error;
    });
    return directory;
  }

  function tellOnce(error: unknown): void {
    if (told) return;
    told = true;
    log("warn", { err: error }, "the outbox cannot be written to disk; what happens waits for the server instead");
  }

  async function writeFile(bytes: Uint8Array): Promise<string> {
    const path = join(await theDirectory(), `${++files}.events`);
    try {
      const file = await open(path, "wx", 0o600);
      try {
        await file.writeFile(bytes);
      } finally {
        await file.close();
      }
      return path;
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  return {
    async write(events) {
      const joined = joinEvents(events);
      if (used + joined.length > maxBytes) {
        tellOnce(new AppError("exhausted", "STORAGE_FULL", `The outbox's files have reached ${maxBytes} bytes.`));
        return undefined;
      }
      used += joined.length;
      let path: string;
      try {
        path = await writeFile(joined);
      } catch (error) {
        used -= joined.length;
        tellOnce(error);
        return undefined;
      }
      return {
        count: events.length,
        bytes: joined.length,
        read: () => readBack(path, events.length),
        async remove() {
          used -= joined.length;
          await rm(path, { force: true }).catch((error: unknown) =>
            log("warn", { err: error }, "a file of the outbox cannot be removed; it goes with its directory"),
          );
        },
      };
    },
    async close() {
      const made = await directory?.catch(() => undefined); // nothing was made, nothing is left
      if (made === undefined) return;
      await rm(made, { recursive: true, force: true }).catch((error: unknown) =>
        log("warn", { err: error, directory: made }, "the outbox's directory cannot be removed; remove it by hand"),
      );
    },
  };
}

async function readBack(path: string, count: number): Promise<Uint8Array[]> {
  try {
    const events = splitEvents(await readFile(path));
    if (events.length !== count) throw new Error(`It holds ${events.length} events instead of ${count}.`);
    return events;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AppError("internal", "INTERNAL", `A file of the outbox cannot be read back: ${why}`, { cause });
  }
}
