// The full series of every operator's figures, told to the server or not, as one file of the run.
import { type FileHandle, open } from "node:fs/promises";
import { OperatorStatistics } from "../../contract/postern/v1/execution.js";
import { storageFailure } from "./failure.js";
import type { ObjectStore } from "./object-store.js";

export const STATISTICS_FILE = "statistics.jsonl";

export interface StatisticsLog {
  add(figures: OperatorStatistics): void;
  /** Publishes the file; resolves with its URI. */
  publish(): Promise<string>;
  /** Removes what was not published. */
  discard(): Promise<void>;
}

export function createStatisticsLog(deps: { store: ObjectStore; now: () => Date }): StatisticsLog {
  const staged = deps.store.stage(STATISTICS_FILE);
  let writes: Promise<FileHandle> = open(staged.path, "wx", 0o600);
  writes.catch(() => {}); // told by `publish`, which waits for it
  return {
    add(figures) {
      const at = deps.now().toISOString();
      const line = `${JSON.stringify({ at, ...(OperatorStatistics.toJSON(figures) as object) })}\n`;
      writes = writes.then(async (handle) => {
        await handle.write(line);
        return handle;
      });
      writes.catch(() => {}); // told by `publish`, which waits for it
    },
    async publish() {
      try {
        await (await writes).close();
      } catch (error) {
        throw storageFailure(error, deps.store.pathOf(STATISTICS_FILE));
      }
      return (await staged.publish()).uri;
    },
    async discard() {
      await writes.then((handle) => handle.close()).catch(() => {}); // closing a file that is thrown away
      await staged.discard();
    },
  };
}
