// Walking over Protocol Buffers wire format (https://protobuf.dev/programming-guides/encoding/) without decoding it, as
// strictly as the strictest decoder: what passes here, decoders in every language read, and read alike. Groups, which
// proto3 does not have, are refused.
import { invalid } from "../../core/app-error.js";

/** Wire types. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/** Longest varint in bytes: of 64 bits, and of the 32 that tags and lengths have. */
const LONGEST = 10;
const LONGEST_32 = 5;

export const malformed = (cause?: unknown) =>
  invalid("A batch of events cannot be read: its encoding is broken.", cause);

export class WireCursor {
  constructor(
    readonly bytes: Uint8Array,
    public at = 0,
    readonly end = bytes.length,
  ) {}

  get more(): boolean {
    return this.at < this.end;
  }

  /** Field number and wire type: `tag >>> 3` and `tag & 7`. */
  tag(): number {
    const tag = this.#uint32();
    const wire = tag & 7;
    if (tag >>> 3 === 0 || (wire > BYTES && wire !== FIXED32)) throw malformed();
    return tag;
  }

  /** A number from 0; beyond 2^53, and so below 0, is refused. */
  varint(): number {
    const start = this.at;
    this.#passVarint();
    let value = 0;
    for (let at = this.at - 1; at >= start; at--) value = value * 128 + (this.bytes[at]! & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER) throw malformed();
    return value;
  }

  /** The length of what follows, and where that ends. */
  lengthEnd(): number {
    const end = this.#uint32() + this.at;
    if (end > this.end) throw malformed();
    return end;
  }

  /** Passes over the value of a field. */
  skip(wire: number): void {
    if (wire === VARINT) this.#passVarint();
    else if (wire === BYTES) this.at = this.lengthEnd();
    else if (wire === FIXED64) this.at += 8;
    else if (wire === FIXED32) this.at += 4;
    else throw malformed();
    if (this.at > this.end) throw malformed();
  }

  #passVarint(): void {
    for (let n = 1; n <= LONGEST && this.at < this.end; n++) {
      const byte = this.bytes[this.at++]!;
      if (byte >= 0x80) continue;
      // The tenth byte holds the last of 64 bits.
      if (n === LONGEST && byte > 1) break;
      return;
    }
    throw malformed();
  }

  #uint32(): number {
    let value = 0;
    for (let n = 1, factor = 1; n <= LONGEST_32 && this.at < this.end; n++, factor *= 128) {
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * factor;
      if (byte >= 0x80) continue;
      if (value > 0xffff_ffff) break;
      return value;
    }
    throw malformed();
  }
}
