// Frames of the pipes, read and written without an event loop.
import { readSync, writeSync } from "node:fs";

const REPLIES = 3;

/** Pauses without an event loop; pipes can be non-blocking. */
const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);

function retried(operation) {
  for (;;) {
    try {
      return operation();
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      pause();
    }
  }
}

/** Bytes where typed arrays may lie on them; undefined once the other side has closed. */
function readExactly(size) {
  const bytes = new Uint8Array(new ArrayBuffer(size));
  let filled = 0;
  while (filled < size) {
    const count = retried(() => readSync(0, bytes, filled, size - filled, null));
    if (count === 0) return undefined;
    filled += count;
  }
  return bytes;
}

export function readBody() {
  const head = readExactly(4);
  return head && readExactly(new DataView(head.buffer).getUint32(0, true));
}

export function writeAll(descriptor, bytes) {
  for (let sent = 0; sent < bytes.length; )
    sent += retried(() => writeSync(descriptor, bytes, sent, bytes.length - sent));
}

/** Writes a frame with a body of these parts. */
export function writeBody(parts) {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(parts.reduce((sum, part) => sum + part.length, 0));
  writeAll(REPLIES, Buffer.concat([head, ...parts]));
}
