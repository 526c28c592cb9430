// How long something has waited in all, by a clock the caller brings. Waits that overlap count once. Pure.
import type { RowSink, RowSource } from "./row-stream.js";

export interface Stopwatch {
  /** Waits for the promise. */
  during<T>(what: Promise<T>): Promise<T>;
  /** The same source: waiting for its rows counts. */
  source(source: RowSource): RowSource;
  /** The same sink: waiting for room in it counts. */
  sink(sink: RowSink): RowSink;
  /** In milliseconds, up to now. */
  ms(): number;
}

export function stopwatch(now: () => number): Stopwatch {
  let total = 0;
  let waits = 0;
  let since = 0;

  async function during<T>(what: Promise<T>): Promise<T> {
    if (waits++ === 0) since = now();
    try {
      return await what;
    } finally {
      if (--waits === 0) total += now() - since;
    }
  }

  return {
    during,
    ms: () => total + (waits > 0 ? now() - since : 0),
    sink: ({ schema, append }) => ({ schema, append: (chunk) => during(append(chunk)) }),
    source: (source) => ({
      schema: source.schema,
      async *chunks(signal) {
        const rows = source.chunks(signal)[Symbol.asyncIterator]();
        try {
          for (;;) {
            const next = await during(rows.next());
            if (next.done) return;
            yield next.value;
          }
        } finally {
          await rows.return?.();
        }
      },
    }),
  };
}
