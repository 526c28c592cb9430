// Columns between frames (column-frames.ts) and QuickJS: numbers as buffers, texts as one string.
const [INT32, INT64, DOUBLE, BOOLEAN, JOINED, BYTES, , , LONG_AS_DOUBLE, CELLS, KEPT] = Array(11).keys();
const [CONSECUTIVE, LISTED, NONE] = [0, 1, 2];
const HEAD_BYTES = 16;
const SEPARATOR = 0x1f;
const padded = (size) => (size + 7) & ~7;

// --- to QuickJS -------------------------------------------------------------------------------------------------------

/** The rows of a frame, as a list of what driver.js makes its columns of. */
export function readColumns(vm, body, schema) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const rows = view.getUint32(4, true);
  const columns = vm.newArray();
  let at = HEAD_BYTES;
  schema.forEach(({ type }, c) => {
    const encoding = body[at];
    const hasNulls = body[at + 1] === 1;
    const size = view.getUint32(at + 4, true);
    at += HEAD_BYTES;
    const nulls = hasNulls ? body.subarray(at, at + rows) : undefined;
    if (hasNulls) at += padded(rows);
    const column = vm.newObject();
    const set = (name, handle) => {
      vm.setProp(column, name, handle);
      handle.dispose();
    };
    give(vm, set, { encoding, type, rows, nulls, data: body.subarray(at, at + size) });
    vm.setProp(columns, c, column);
    column.dispose();
    at += padded(size);
  });
  return { rows, columns };
}

function give(vm, set, { encoding, type, rows, nulls, data }) {
  const buffer = (bytes) => vm.newArrayBuffer(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  if (nulls !== undefined && type !== "boolean") {
    const places = [];
    for (let n = 0; n < rows; n++) if (nulls[n] === 1) places.push(n);
    set("nulls", vm.newArrayBuffer(Uint32Array.from(places).buffer));
  }
  switch (encoding) {
    case INT32:
    case DOUBLE:
      set("buffer", buffer(data));
      return;
    case BOOLEAN:
      if (nulls !== undefined) for (let n = 0; n < rows; n++) if (nulls[n] === 1) data[n] = 2;
      set("buffer", buffer(data));
      return;
    case INT64:
      if (type === "timestamp") set("text", vm.newString(timeTexts(data, nulls)));
      else giveLongs(vm, set, data, nulls);
      return;
    case JOINED:
      // QuickJS takes strings as C has them: a NUL would end one.
      if (data.includes(0)) set("texts", vm.newString(JSON.stringify(decoded(data).split("\x1f"))));
      else set("text", vm.newString(decoded(data)));
      return;
    default: {
      const lengths = new Uint32Array(data.buffer, data.byteOffset, rows);
      if (type === "binary") {
        set("lengths", buffer(data.subarray(0, 4 * rows)));
        set("buffer", buffer(data.subarray(4 * rows)));
        return;
      }
      let at = 4 * rows;
      const texts = Array.from(lengths, (length) => {
        at += length;
        return decoded(data.subarray(at - length, at));
      });
      set("texts", vm.newString(JSON.stringify(texts)));
    }
  }
}

const decoded = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");

/** Doubles where all numbers are exact as such; else numbers, and texts of the others. */
function giveLongs(vm, set, data, nulls) {
  const halves = new Int32Array(data.buffer, data.byteOffset, data.length / 4);
  const doubles = new Float64Array(data.length / 8);
  for (let n = 0; n < doubles.length; n++) {
    doubles[n] = halves[2 * n + 1] * 4294967296 + (halves[2 * n] >>> 0);
    if (!Number.isSafeInteger(doubles[n]) && nulls?.[n] !== 1) {
      const longs = Array.from(new BigInt64Array(data.buffer, data.byteOffset, data.length / 8));
      const mixed = longs.map((v) => (Number.isSafeInteger(Number(v)) ? Number(v) : String(v)));
      set("texts", vm.newString(JSON.stringify(mixed)));
      return;
    }
  }
  set("buffer", vm.newArrayBuffer(doubles.buffer));
}

const ENDLESS = 2n ** 63n - 1n;

/** `2026-01-31T12:00:00.123+00:00`: no fraction, three digits or six. */
function timeTexts(data, nulls) {
  const times = new BigInt64Array(data.buffer, data.byteOffset, data.length / 8);
  const texts = Array(times.length);
  for (let n = 0; n < times.length; n++) texts[n] = nulls?.[n] === 1 ? "" : timeText(times[n]);
  return texts.join("\x1f");
}

function timeText(micros) {
  if (micros >= ENDLESS) return "infinity";
  if (micros <= -ENDLESS) return "-infinity";
  const fraction = Number(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n);
  const date = new Date(Number((micros - BigInt(fraction)) / 1000n));
  if (Number.isNaN(date.getTime())) return micros > 0n ? "infinity" : "-infinity";
  const seconds = date.toISOString().slice(0, -5);
  if (fraction === 0) return `${seconds}+00:00`;
  const digits = String(fraction).padStart(6, "0");
  return `${seconds}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}+00:00`;
}

// --- from QuickJS -----------------------------------------------------------------------------------------------------

const WIDTHS = { integer: 4, long: 8, double: 8, boolean: 1 };
const ENCODINGS = { integer: INT32, long: LONG_AS_DOUBLE, double: DOUBLE, boolean: BOOLEAN };

/** The parts of a reply's body. */
export function replyBody({ vm, texts, port, rows, origins, columns, schema }) {
  const head = Buffer.alloc(HEAD_BYTES);
  head[0] = 1;
  head[1] = port;
  head.writeUInt16LE(schema.length, 2);
  head.writeUInt32LE(rows, 4);
  const parts = [head];
  if (vm.typeof(origins) === "undefined") head.writeUInt32LE(NONE, 8);
  else {
    const list = taken(vm, origins, 4 * rows);
    const numbers = new Uint32Array(list.buffer, list.byteOffset, rows);
    const first = numbers[0] ?? 0;
    const isRun = numbers.every((n, i) => n === first + i);
    head.writeUInt32LE(isRun ? CONSECUTIVE : LISTED, 8);
    head.writeUInt32LE(first, 12);
    if (!isRun) add(parts, list);
  }
  schema.forEach(({ type }, c) => {
    const column = vm.getProp(columns, c);
    const get = (name) => {
      const handle = vm.getProp(column, name);
      if (vm.typeof(handle) !== "undefined") return handle;
      handle.dispose();
      return undefined;
    };
    addColumn(parts, vm, get, { type, rows, texts: () => texts(port, c, rows) });
    column.dispose();
  });
  return parts;
}

function addColumn(parts, vm, get, { type, rows, texts }) {
  const kept = get("kept");
  if (kept) return addData(parts, KEPT, undefined, Buffer.alloc(0), vm.getNumber(kept));
  const cells = get("cells");
  if (cells) return addData(parts, CELLS, undefined, Buffer.from(text(vm, cells)));
  const nullBytes = get("nulls");
  const nulls = nullBytes && taken(vm, nullBytes, rows);
  if (WIDTHS[type]) return addData(parts, ENCODINGS[type], nulls, taken(vm, get("buffer"), rows * WIDTHS[type]));
  const lengths = get("lengths");
  if (lengths)
    return addData(parts, BYTES, nulls, Buffer.concat([taken(vm, lengths, 4 * rows), taken(vm, get("buffer"))]));
  const joined = text(vm, get("text"));
  // One that holds a NUL, or half a character, does not come whole.
  const isWhole = joined.length === vm.getNumber(get("size"));
  addData(parts, BYTES, nulls, (isWhole && separated(joined, rows)) || oneByOne(texts()));
}

function text(vm, handle) {
  const value = vm.getString(handle);
  handle.dispose();
  return value;
}

/** A copy of the first bytes of a buffer of QuickJS, where typed arrays may lie on it. */
function taken(vm, handle, size) {
  const life = vm.getArrayBuffer(handle);
  const bytes = new Uint8Array(life.value.subarray(0, size));
  life.dispose();
  handle.dispose();
  return bytes;
}

/** Lengths and texts, from one string; undefined when they cannot be told apart in it. */
function separated(joined, rows) {
  const bytes = Buffer.from(joined);
  const lengths = new Uint32Array(rows);
  const plain = Buffer.allocUnsafe(bytes.length);
  let [n, to, start] = [0, 0, 0];
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte !== SEPARATOR) plain[to++] = byte;
    else {
      if (n < rows) lengths[n] = to - start;
      n++;
      start = to;
    }
  }
  if (n !== rows - 1) return undefined;
  lengths[n] = to - start;
  return Buffer.concat([new Uint8Array(lengths.buffer), plain.subarray(0, to)]);
}

function oneByOne(texts) {
  const parts = texts.map((one) => Buffer.from(one));
  return Buffer.concat([Buffer.from(Uint32Array.from(parts, (part) => part.length).buffer), ...parts]);
}

function addData(parts, encoding, nulls, data, number = 0) {
  const head = Buffer.alloc(HEAD_BYTES);
  head[0] = encoding;
  head[1] = nulls === undefined ? 0 : 1;
  head.writeUInt32LE(data.length, 4);
  head.writeUInt32LE(number, 8);
  parts.push(head);
  if (nulls !== undefined) add(parts, nulls);
  add(parts, data);
}

function add(parts, bytes) {
  parts.push(bytes);
  if (bytes.length % 8) parts.push(Buffer.alloc(8 - (bytes.length % 8)));
}
