// Rows on their way: where a user function has its rows from, and where it puts them. A few thousand at a time are in
// this process; whoever reads slowly makes those before him wait.
import type { DuckDBAppender, DuckDBDataChunk } from "@duckdb/node-api";
import type { Schema } from "../../core/plan.js";
import { RunStopped, throwIfStopped } from "./failure.js";

/** Rows as they come; read once. */
export interface RowSource {
  schema: Schema;
  chunks(signal: AbortSignal): AsyncIterable<DuckDBDataChunk>;
}

/** Takes rows; `append` resolves when there is room for more, so a full sink slows its producer. */
export interface RowSink {
  schema: Schema;
  append(chunk: DuckDBDataChunk): Promise<void>;
}

/** Chunks a queue holds; DuckDB's have 2,048 rows. */
const QUEUED_CHUNKS = 8;

/** Both ends of a bounded queue between two functions that run at the same time. */
export interface RowQueue {
  source: RowSource;
  sink: RowSink;
  /** Nothing more comes. */
  end(): void;
}

/** Both ends reject with RunStopped once `stop` aborts. */
export function rowQueue(schema: Schema, stop: AbortSignal): RowQueue {
  const waiting: DuckDBDataChunk[] = [];
  let ended = false;
  /** Wakes the end that waits; only one can, for a queue is not full and empty at once. */
  let wake: (() => void) | undefined;
  const ring = () => {
    wake?.();
    wake = undefined;
  };
  stop.addEventListener("abort", ring, { once: true });

  const changed = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });

  return {
    end() {
      ended = true;
      ring();
    },
    sink: {
      schema,
      async append(chunk) {
        throwIfStopped(stop);
        waiting.push(chunk);
        ring();
        while (waiting.length >= QUEUED_CHUNKS) {
          await changed();
          throwIfStopped(stop);
        }
      },
    },
    source: {
      schema,
      async *chunks(signal) {
        const onAbort = () => ring();
        signal.addEventListener("abort", onAbort, { once: true });
        try {
          for (;;) {
            if (signal.aborted || stop.aborted) throw new RunStopped();
            const chunk = waiting.shift();
            if (chunk) {
              ring();
              yield chunk;
            } else if (ended) return;
            else await changed();
          }
        } finally {
          signal.removeEventListener("abort", onAbort);
        }
      },
    },
  };
}

/** Appends to a table. */
export const tableSink = (schema: Schema, appender: DuckDBAppender): RowSink => ({
  schema,
  append: async (chunk) => appender.appendDataChunk(chunk),
});

/** Forgets what it is given. */
export const noSink = (schema: Schema): RowSink => ({ schema, append: async () => {} });
