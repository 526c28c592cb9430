// Everything user code wrote, as files of the run: one JSON line per line of output, up to a limit per operator.
import { type FileHandle, open } from "node:fs/promises";
import type { ConsoleResult } from "../../contract/postern/v1/port_registry.js";
import { storageFailure } from "./failure.js";
import type { ObjectStore, Staged } from "./object-store.js";

export type ConsoleLevel = "output" | "error" | "note";

export interface ConsoleLog {
  add(operatorId: string, level: ConsoleLevel, text: string): void;
  /** Publishes the files; afterwards nothing is added. */
  publish(): Promise<ConsoleResult[]>;
  /** Removes what was not published. */
  discard(): Promise<void>;
}

/** A file is cut there, with a last line that says so. */
export const CONSOLE_FILE_BYTES = 10 * 1024 * 1024;

interface OpenFile {
  operatorId: string;
  staged: Staged;
  /** Serialises the writes, which arrive faster than the disk takes them. */
  writes: Promise<FileHandle>;
  lineCount: bigint;
  byteCount: number;
  full: boolean;
}

/** An operator has one worker in this executor. */
const WORKER = 0;

export const consoleFileName = (operatorId: string): string => `${operatorId}.console.jsonl`;

export function createConsoleLog(deps: { store: ObjectStore; now: () => Date; maxBytes?: number }): ConsoleLog {
  const maxBytes = deps.maxBytes ?? CONSOLE_FILE_BYTES;
  const files = new Map<string, OpenFile>();

  function fileOf(operatorId: string): OpenFile {
    const known = files.get(operatorId);
    if (known) return known;
    const staged = deps.store.stage(consoleFileName(operatorId));
    const writes = open(staged.path, "wx", 0o600);
    writes.catch(() => {}); // told by `publish`, which waits for it
    const file = { operatorId, staged, writes, lineCount: 0n, byteCount: 0, full: false };
    files.set(operatorId, file);
    return file;
  }

  function write(file: OpenFile, level: ConsoleLevel, text: string): void {
    const { operatorId } = file;
    const line = `${JSON.stringify({ at: deps.now().toISOString(), operatorId, worker: WORKER, level, text })}\n`;
    file.lineCount++;
    file.byteCount += Buffer.byteLength(line);
    file.writes = file.writes.then(async (handle) => {
      await handle.write(line);
      return handle;
    });
    file.writes.catch(() => {}); // told by `publish`, which waits for it
  }

  return {
    add(operatorId, level, text) {
      const file = fileOf(operatorId);
      if (file.full) return;
      if (file.byteCount + text.length <= maxBytes) return write(file, level, text);
      file.full = true;
      write(file, "note", `The file ends here: it has reached ${Math.round(maxBytes / 1024 / 1024)} MB.`);
    },
    async publish() {
      const results: ConsoleResult[] = [];
      for (const [operatorId, file] of files) {
        const { staged, lineCount } = file;
        try {
          await (await file.writes).close();
        } catch (error) {
          throw storageFailure(error, deps.store.pathOf(consoleFileName(operatorId)));
        }
        const { uri, byteCount } = await staged.publish();
        results.push({ operatorId, worker: WORKER, uri, lineCount, byteCount });
        files.delete(operatorId);
      }
      return results;
    },
    async discard() {
      for (const { staged, writes } of files.values()) {
        await writes.then((handle) => handle.close()).catch(() => {}); // closing a file that is thrown away
        await staged.discard();
      }
      files.clear();
    },
  };
}
