// Runs inside QuickJS, before user code, and calls it. Evaluates to a function that takes the settings, what writes a
// line, what sends rows, and the loops written for these settings (loop-source.mjs); gives what the child calls.
//
// User code shares this world and may break it; it breaks only itself, because whoever reads the replies trusts nothing.
(settingsText, write, send, makeLoops) => {
  const { parse, stringify } = JSON;
  const { inputs, outputs, call, separator } = parse(settingsText);
  const MAX_SAFE = Number.MAX_SAFE_INTEGER;
  const MOST_ROWS = 16384;
  const plainObject = Object.prototype;
  const protoOf = Object.getPrototypeOf;
  const { isArray } = Array;

  const shown = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}` : String(value);
    try {
      return typeof value === "object" && value !== null
        ? stringify(value, (_, v) => (typeof v === "bigint" ? `${v}n` : v))
        : String(value);
    } catch {
      return String(value);
    }
  };
  const printer =
    (level) =>
    (...values) =>
      write(level, values.map(shown).join(" "));
  const out = printer("output");
  const err = printer("error");
  globalThis.console = { log: out, info: out, debug: out, warn: err, error: err };

  class ToOutput {
    constructor(port, value) {
      this.port = port;
      this.value = value;
    }
  }
  globalThis.toOutput = (port, value) => new ToOutput(port, value);
  class Refusal extends Error {}

  let name;
  let row; // of the batch; undefined outside a call with one
  let limit = 256; // rows of a reply: few at first, so that the first of them are out soon

  const kindOf = (value) => {
    if (isArray(value)) return "an array";
    if (typeof value === "function") return "a function";
    if (typeof value === "symbol") return "a symbol";
    if (typeof value === "object") return "an object";
    return `the ${typeof value} ${String(value).slice(0, 80)}`;
  };
  const hexOf = (bytes) => {
    let hex = "";
    for (const byte of bytes) hex += (byte < 16 ? "0" : "") + byte.toString(16);
    return hex;
  };

  // --- values that a column's buffer holds, and those that need words ---

  const jsonText = (value) =>
    stringify(value, (_, v) => (typeof v === "bigint" ? (v <= MAX_SAFE && v >= -MAX_SAFE ? Number(v) : String(v)) : v));
  const cellOf = (value) => {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        return Number.isFinite(value) ? value : { $number: String(value) };
      case "bigint":
        return { $long: String(value) };
    }
    if (value instanceof Uint8Array) return { $bytes: hexOf(value) };
    if (value instanceof Date && Number.isNaN(value.getTime())) return { $other: "an invalid Date" };
    return { $other: kindOf(value) };
  };
  const LISTS = {
    integer: () => new Int32Array(MOST_ROWS),
    long: () => new Float64Array(MOST_ROWS),
    double: () => new Float64Array(MOST_ROWS),
    boolean: () => new Uint8Array(MOST_ROWS),
  };
  const FILLERS = { integer: 0, long: 0, double: 0, boolean: 0, binary: new Uint8Array(0) };

  /** One column of an output port: values by row, which of them are missing, and those that need words. */
  class Column {
    constructor({ name, type }) {
      this.name = name;
      this.type = type;
      this.list = LISTS[type] ? LISTS[type]() : [];
      this.filler = FILLERS[type] ?? "";
      this.nulls = undefined;
      this.odd = undefined;
      this.kept = -1;
    }
    /** Takes a value that is not simply of the column's type. */
    put(n, value, given) {
      if (value === undefined && !(this.name in given))
        throw new Refusal(`${name} returned a row without the column "${this.name}"; return it, or null for no value.`);
      this.list[n] = this.filler;
      if (value === null || value === undefined) {
        this.nulls ??= new Uint8Array(MOST_ROWS);
        this.nulls[n] = 1;
        return;
      }
      switch (this.type) {
        case "any":
          try {
            const text = jsonText(value);
            if (text !== undefined) {
              this.list[n] = text;
              return;
            }
          } catch (error) {
            this.say(n, { $other: `something JSON cannot hold (${error.message})` });
            return;
          }
          break;
        case "timestamp":
          if (value instanceof Date && !Number.isNaN(value.getTime())) {
            this.list[n] = value.toISOString();
            return;
          }
          break;
        case "binary":
          if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
            this.list[n] = value instanceof ArrayBuffer ? new Uint8Array(value) : value;
            return;
          }
          break;
        case "boolean":
          if (typeof value === "boolean") {
            this.list[n] = value ? 1 : 0;
            return;
          }
      }
      this.say(n, cellOf(value instanceof ArrayBuffer ? new Uint8Array(value) : value));
    }
    say(n, cell) {
      this.odd ??= new Map();
      this.odd.set(n, cell);
    }
    /** What the child sends of the first `rows` values. */
    data(rows) {
      if (this.kept >= 0) return { kept: this.kept };
      const { type, list, nulls } = this;
      if (this.odd) return { cells: stringify(this.cells(rows)) };
      if (LISTS[type]) return { nulls: nulls?.buffer, buffer: list.buffer };
      if (type !== "binary") {
        const text = list.join(separator);
        return { nulls: nulls?.buffer, text, size: text.length };
      }
      const lengths = new Uint32Array(rows);
      let total = 0;
      for (let n = 0; n < rows; n++) total += lengths[n] = list[n].length;
      const bytes = new Uint8Array(total);
      for (let n = 0, at = 0; n < rows; at += lengths[n++]) bytes.set(list[n], at);
      return { nulls: nulls?.buffer, lengths: lengths.buffer, buffer: bytes.buffer };
    }
    cells(rows) {
      const cells = [];
      for (let n = 0; n < rows; n++) {
        const value = this.list[n];
        if (this.odd?.has(n)) cells.push(this.odd.get(n));
        else if (this.nulls?.[n] === 1) cells.push(null);
        else if (this.type === "boolean") cells.push(value === 1);
        else cells.push(this.type === "any" ? { $json: value } : cellOf(value));
      }
      return cells;
    }
    clear() {
      if (!LISTS[this.type]) this.list.length = 0;
      this.nulls = undefined;
      this.odd = undefined;
    }
  }

  class Port {
    constructor(number, schema) {
      this.number = number;
      this.columns = schema.map((column) => new Column(column));
      this.origins = new Uint32Array(MOST_ROWS);
      this.rows = 0;
    }
    /** Takes a row that comes from no input row. */
    addFree(given) {
      const n = this.rows;
      for (const column of this.columns) {
        column.kept = -1;
        const value = given[column.name];
        if (fits(value, column.type)) column.list[n] = value;
        else column.put(n, value, given);
      }
      this.rows = n + 1;
    }
  }
  const fits = (value, type) => {
    switch (type) {
      case "string":
      case "timestamp":
        return typeof value === "string";
      case "integer":
        return (value | 0) === value;
      case "long":
      case "double":
        return typeof value === "number";
    }
    return false;
  };
  const ports = outputs.map((schema, number) => new Port(number, schema));

  /** Sends what a port has gathered. */
  const flush = (port, free) => {
    if (port.rows === 0) return;
    const columns = port.columns.map((column) => column.data(port.rows));
    const bytes = send(port.number, port.rows, free ? undefined : port.origins.buffer, columns);
    limit = Math.max(16, Math.min(MOST_ROWS, limit * 4, Math.floor((1048576 * port.rows) / bytes)));
    port.rows = 0;
    for (const column of port.columns) column.clear();
  };
  const flushAll = (free) => {
    for (const port of ports) flush(port, free);
  };
  const flushIfFull = (port, free) => {
    if (port.rows >= limit) flush(port, free);
  };

  // --- what a call gave ---

  const isRow = (value) => typeof value === "object" && value !== null && !isArray(value);
  const portOf = (number) => {
    if (Number.isInteger(number) && ports[number]) return ports[number];
    const range = ports.length === 1 ? "output 0 only" : `outputs 0 to ${ports.length - 1}`;
    throw new Refusal(`${name} gave a row to output ${shown(number)}; the operator has ${range}.`);
  };

  /** Calls `take(port, row)` for every row of what one call gave. */
  const each = (result, take, port = ports[0]) => {
    if (result === null || result === undefined) return;
    if (result instanceof ToOutput) return each(result.value, take, portOf(result.port));
    if (typeof result === "object" && typeof result.then === "function")
      throw new Refusal(`${name} returned a promise; make it an ordinary function.`);
    if (typeof result === "object" && typeof result[Symbol.iterator] === "function") {
      for (const value of result) {
        if (value === null || value === undefined) continue;
        if (value instanceof ToOutput) each(value, take);
        else if (isRow(value)) take(port, value);
        else throw new Refusal(`${name} returned a list with ${kindOf(value)} in it; each element is an object.`);
      }
    } else if (isRow(result)) take(port, result);
    else throw new Refusal(`${name} returned ${kindOf(result)}; return an object, an array of objects, or null.`);
  };
  const takeFree = (port, given) => {
    port.addFree(given);
    flushIfFull(port, true);
  };
  const giveFree = (result) => {
    each(result, takeFree);
    flushAll(true);
  };

  // --- what is given to calls ---

  const jsonOf = (text) => {
    try {
      return parse(text);
    } catch {
      return text;
    }
  };
  /** The values of a column as a list that can be indexed; booleans stay 0, 1 and 2 for none. */
  const listOf = (type, { buffer, text, texts, lengths, nulls }) => {
    let list;
    switch (type) {
      case "integer":
        list = new Int32Array(buffer);
        break;
      case "long":
        list = texts ? parse(texts).map((v) => (typeof v === "string" ? BigInt(v) : v)) : new Float64Array(buffer);
        break;
      case "double":
        list = new Float64Array(buffer);
        break;
      case "boolean":
        return new Uint8Array(buffer);
      case "binary": {
        let at = 0;
        list = Array.from(new Uint32Array(lengths), (length) => {
          at += length;
          return new Uint8Array(buffer.slice(at - length, at));
        });
        break;
      }
      default:
        list = texts === undefined ? text.split(separator) : parse(texts);
    }
    if (nulls !== undefined) {
      if (!isArray(list)) list = Array.from(list);
      for (const n of new Uint32Array(nulls)) list[n] = null;
    }
    if (type === "any") for (let n = 0; n < list.length; n++) if (list[n] !== null) list[n] = jsonOf(list[n]);
    return list;
  };

  let loops;
  let user = {};
  let size;
  const pending = inputs.map(() => []);

  const callBatches = (port, least) => {
    while (pending[port].length >= least) {
      const batch = pending[port].splice(0, size);
      giveFree(user.entry(batch, port));
    }
  };

  const failureOf = (error) => {
    if (error instanceof Refusal) return { kind: "output", message: error.message, trace: "", row };
    const isError = error instanceof Error;
    const message = isError ? `${error.name}: ${error.message}` : `thrown: ${shown(error)}`;
    // When there is no memory left even for an error, QuickJS throws null.
    const outOfMemory =
      error === null || (isError && error.name === "InternalError" && /out of memory/.test(error.message));
    const trace = isError ? `${message}\n${traceOf(error)}` : "";
    return { kind: outOfMemory ? "memory" : "exception", message, trace, row };
  };
  /** The user's part of a trace. */
  const traceOf = (error) =>
    String(error?.stack ?? "")
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.includes("postern-"))
      .join("\n");
  /** Does something with user code; gives nothing, or what went wrong as JSON. */
  const told =
    (work) =>
    (...values) => {
      try {
        return work(...values);
      } catch (error) {
        return stringify(failureOf(error));
      }
    };

  return {
    use: told((entry, userName, open, close, onFinish, batchSize) => {
      user = { entry, close, onFinish };
      name = userName;
      size = batchSize === undefined ? 10000 : batchSize;
      if (!Number.isInteger(size) || size < 1)
        throw new Refusal(`BATCH_SIZE must be a whole number from 1 on, and is ${shown(size)}.`);
      const passesPort = inputs.length > 1 || entry.length > 1;
      const setRow = (n) => {
        row = n;
      };
      loops = makeLoops({ ports, entry, passesPort, protoOf, plainObject, each, flush, flushIfFull, setRow });
      limit = 256;
      open?.();
    }),
    rows: told((port, count, columns) => {
      const lists = columns.map((column, c) => listOf(inputs[port][c].type, column));
      if (call === "tuple") {
        row = 0;
        loops[port].call(lists, count, () => limit);
        row = undefined;
        flushAll(false);
      } else {
        const batch = loops[port].rows(lists, count);
        pending[port] = pending[port].length === 0 ? batch : pending[port].concat(batch);
        if (call === "batch") callBatches(port, size);
      }
    }),
    end: told((port) => {
      if (call === "source") giveFree(user.entry());
      else if (call === "table") giveFree(user.entry(pending[port].splice(0), port));
      else if (call === "batch") callBatches(port, 1);
      if (call !== "source") giveFree(user.onFinish?.(port));
    }),
    finish: told(() => void user.close?.()),
    row: () => row,
    /** The texts of a column as JSON, when one of them cannot be told from its neighbours. */
    texts: (port, c, count) => stringify(ports[port].columns[c].list.slice(0, count)),
  };
};
