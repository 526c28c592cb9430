// Lines of text from a pipe.
import type { Readable } from "node:stream";

/** Longest line kept whole; the rest of a longer one is left out. */
const LINE_BYTES = 64 * 1024;

/** Calls `onLine` for every line of a pipe. Never holds more than one line. */
export async function readLines(pipe: Readable, onLine: (line: string) => void): Promise<void> {
  let pending = Buffer.alloc(0);
  let cut = false;
  const give = (line: Buffer) => {
    if (!cut || line.length > 0) onLine(line.toString("utf8").replace(/\r$/, "") + (cut ? " …" : ""));
    cut = false;
  };
  for await (const part of pipe as AsyncIterable<Buffer>) {
    let rest: Buffer = part;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      give(Buffer.concat([pending, rest.subarray(0, Math.max(0, Math.min(end, LINE_BYTES - pending.length)))]));
      pending = Buffer.alloc(0);
      rest = rest.subarray(end + 1);
    }
    const room = LINE_BYTES - pending.length;
    if (rest.length > room) cut = true;
    pending = Buffer.concat([pending, rest.subarray(0, room)]);
  }
  if (pending.length > 0) give(pending);
}
