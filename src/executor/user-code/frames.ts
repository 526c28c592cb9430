// Frames on the pipes to user code: four bytes of length (little endian), then JSON in UTF-8. And lines of text.
import type { Readable } from "node:stream";

/** Larger frames are refused: one reply holds a few thousand rows. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;

export function encodeFrame(message: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(message));
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

/** The frames of a pipe; throws on a frame too large, ends with the pipe. */
export async function* readFrames(pipe: Readable): AsyncGenerator<unknown, undefined> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const part of pipe as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    for (;;) {
      const wanted = size >= 4 ? 4 + peekLength(parts) : 4;
      if (wanted > MAX_FRAME_BYTES) throw new Error("The function's process sent more at once than it may.");
      if (size < wanted || size < 4) break;
      const all = parts.length === 1 ? parts[0]! : Buffer.concat(parts, size);
      yield JSON.parse(all.toString("utf8", 4, wanted));
      parts = wanted < size ? [all.subarray(wanted)] : [];
      size -= wanted;
    }
  }
  return undefined;
}

function peekLength(parts: Buffer[]): number {
  if (parts[0]!.length >= 4) return parts[0]!.readUInt32LE(0);
  return Buffer.concat(parts).readUInt32LE(0);
}

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
