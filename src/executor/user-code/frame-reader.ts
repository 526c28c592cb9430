// The bodies of the frames of a pipe, each copied to where typed arrays may lie on it.
import type { Readable } from "node:stream";

/** Larger frames are refused: a reply holds a few thousand rows. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;

/** Ends with the pipe; throws FrameTooLarge. */
export async function* readBodies(pipe: Readable): AsyncGenerator<Uint8Array<ArrayBuffer>, undefined> {
  const head = new Uint8Array(4);
  let headBytes = 0;
  let body: Uint8Array<ArrayBuffer> | undefined;
  let filled = 0;
  for await (const part of pipe as AsyncIterable<Buffer>) {
    for (let at = 0; at < part.length || (body && filled === body.length); ) {
      if (!body) {
        const taken = Math.min(4 - headBytes, part.length - at);
        head.set(part.subarray(at, at + taken), headBytes);
        headBytes += taken;
        at += taken;
        if (headBytes < 4) break;
        const size = new DataView(head.buffer).getUint32(0, true);
        if (size > MAX_FRAME_BYTES) throw new FrameTooLarge();
        body = new Uint8Array(new ArrayBuffer(size));
        filled = 0;
      }
      const taken = Math.min(body.length - filled, part.length - at);
      body.set(part.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < body.length) break;
      yield body;
      body = undefined;
      headBytes = 0;
    }
  }
  return undefined;
}

export class FrameTooLarge extends Error {
  constructor() {
    super("The function's process sent more at once than it may.");
  }
}
