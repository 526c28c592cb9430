// The first lines of a CSV file, and the names of its columns.
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { isCompressed } from "../../core/file-format.js";
import { foldName } from "../../core/names.js";
import type { Attribute, Encoding, Schema } from "../../core/plan.js";
import { unreadable } from "./unreadable-file.js";

const DECODER = { "utf-8": "utf-8", "utf-16": "utf-16le", "latin-1": "latin1" } as const;

/** The beginning of a text file, without a byte order mark. */
export async function headOf(path: string, encoding: Encoding): Promise<string> {
  const decoder = new TextDecoder(DECODER[encoding || "utf-8"]);
  const file = createReadStream(path, { end: 256 * 1024 });
  // Its errors arrive where the stream is read.
  const stream = isCompressed(path) ? pipeline(file, createGunzip(), () => {}) : file;
  try {
    for await (const chunk of stream) {
      const bytes = chunk as Buffer;
      const fault = encodingFault(bytes, encoding);
      if (fault !== undefined) throw unreadable(fault);
      return decoder.decode(bytes);
    }
    return "";
  } finally {
    file.destroy();
  }
}

/** What the byte order mark says against the encoding, and what to do; undefined when it says nothing. */
function encodingFault(bytes: Buffer, encoding: Encoding): string | undefined {
  const [first, second] = bytes;
  if (first === 0xfe && second === 0xff) return "it is big-endian UTF-16, which is not read; convert it to UTF-8";
  if (first === 0xff && second === 0xfe && encoding !== "utf-16") return 'it is UTF-16; give it the encoding "utf-16"';
  return undefined;
}

/** Names that differ at least in more than case; CSV columns are found by position, so any name will do. */
export function uniqueNames(columns: Attribute[]): Schema {
  const taken = new Set<string>();
  return columns.map(({ name, type }) => {
    let unique = name;
    for (let n = 1; taken.has(foldName(unique)); n++) unique = `${name}_${n}`;
    taken.add(foldName(unique));
    return { name: unique, type };
  });
}
