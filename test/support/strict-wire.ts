// A second reader of Protocol Buffers wire format, written for strictness alone and sharing nothing with the product: it
// refuses whatever any decoder could refuse. https://protobuf.dev/programming-guides/encoding/

/** A field as it lies on the wire; a varint as its 64 bits. */
export interface WireField {
  number: number;
  wire: number;
  value: bigint | Buffer;
}

/** The fields of a message, in order. Throws RangeError when the bytes are none. */
export function strictFields(bytes: Uint8Array): WireField[] {
  const fields: WireField[] = [];
  let rest = Buffer.from(bytes);
  const varint = (most: number): bigint => {
    const length = rest.findIndex((byte) => byte < 0x80) + 1;
    if (length === 0 || length > most) throw new RangeError(`a varint of ${length || "too many"} bytes`);
    const value = [...rest.subarray(0, length)].reduceRight((sum, byte) => (sum << 7n) | BigInt(byte & 0x7f), 0n);
    if (value >= 1n << (most === 5 ? 32n : 64n)) throw new RangeError("a varint that overflows");
    rest = rest.subarray(length);
    return value;
  };
  const take = (length: number): Buffer => {
    if (length > rest.length) throw new RangeError("a field longer than its message");
    const taken = rest.subarray(0, length);
    rest = rest.subarray(length);
    return taken;
  };
  while (rest.length > 0) {
    const tag = Number(varint(5));
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (number === 0) throw new RangeError("field number 0");
    if (wire === 0) fields.push({ number, wire, value: varint(10) });
    else if (wire === 1) fields.push({ number, wire, value: take(8) });
    else if (wire === 2) fields.push({ number, wire, value: take(Number(varint(5))) });
    else if (wire === 5) fields.push({ number, wire, value: take(4) });
    else throw new RangeError(`wire type ${wire}`);
  }
  return fields;
}

type Form = "varint" | "text" | "bytes" | Shape;
interface Shape {
  [number: number]: Form;
}

const time: Shape = { 1: "varint", 2: "varint" };
const failure: Shape = { 1: "text", 2: "text", 3: "text", 4: "text" };
const portKey: Shape = { 1: "text", 2: "text", 3: "varint", 4: "varint", 5: "varint" };
/** ExecutionEvent as execution.proto has it, without what no executor sends. */
export const EVENT: Shape = {
  1: "varint",
  2: "varint",
  3: "varint",
  4: time,
  5: { 1: "varint", 2: failure, 3: "text" },
  6: { 1: "varint", 2: "varint" },
  7: { 1: "text", 2: "text", 3: "varint", 4: failure },
  8: {
    ...{
      1: "text",
      2: "text",
      3: "varint",
      4: "varint",
      5: "varint",
      6: "varint",
      7: "varint",
      8: "bytes",
      9: "varint",
    },
    ...{ 10: "varint", 11: "varint", 12: "varint" },
  },
  9: { 1: "text", 2: "varint", 3: "varint", 4: "text" },
  10: { 1: portKey, 2: "text", 3: "text", 4: "varint", 5: "varint", 7: "text", 8: time, 9: "varint" },
};

/** Throws RangeError unless the bytes are a message of this shape, through and through; fields beyond it are free. */
export function requireShape(bytes: Uint8Array, shape: Shape): void {
  for (const { number, wire, value } of strictFields(bytes)) {
    const form = shape[number];
    if (form === undefined) continue;
    if (form === "varint" ? wire !== 0 : form === "bytes" ? wire !== 1 : wire !== 2)
      throw new RangeError(`field ${number} has wire type ${wire}`);
    if (form === "text") new TextDecoder("utf-8", { fatal: true }).decode(value as Buffer);
    else if (typeof form === "object") requireShape(value as Buffer, form);
  }
}
