// Runs inside QuickJS, before user code, and calls it row by row. Evaluates to a function that takes the settings and
// gives the three functions the child calls; everything crosses as text.
//
// User code shares this world and may break it; it breaks only itself, because whoever reads the replies trusts nothing.
(settingsText, write) => {
  const { parse, stringify } = JSON;
  const { input, output, retain } = parse(settingsText);
  const MAX_SAFE = Number.MAX_SAFE_INTEGER;

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

  const bytesOf = (hex) => {
    const bytes = new Uint8Array(hex.length / 2);
    for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(hex.substr(i * 2, 2), 16);
    return bytes;
  };
  const hexOf = (bytes) => {
    let hex = "";
    for (const byte of bytes) hex += (byte < 16 ? "0" : "") + byte.toString(16);
    return hex;
  };
  const jsonOf = (text) => {
    try {
      return parse(text);
    } catch {
      return text;
    }
  };
  const DECODERS = {
    long: (v) => (typeof v === "string" ? BigInt(v) : v),
    double: (v) => (typeof v === "string" ? Number(v) : v),
    binary: bytesOf,
    any: jsonOf,
  };
  const names = input.map((c) => c.name);
  const decoders = input.map((c) => DECODERS[c.type]);

  const kindOf = (value) => {
    if (Array.isArray(value)) return "an array";
    if (typeof value === "function") return "a function";
    if (typeof value === "symbol") return "a symbol";
    if (typeof value === "object") return "an object";
    return `the ${typeof value} ${String(value).slice(0, 80)}`;
  };
  const encodeAny = (value) => {
    try {
      const text = stringify(value, (_, v) =>
        typeof v === "bigint" ? (v <= MAX_SAFE && v >= -MAX_SAFE ? Number(v) : String(v)) : v,
      );
      return text === undefined ? { $other: kindOf(value) } : { $json: text };
    } catch (error) {
      return { $other: `something JSON cannot hold (${error.message})` };
    }
  };
  const encode = (value, type) => {
    if (value === null || value === undefined) return null;
    if (type === "any") return encodeAny(value);
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
    if (value instanceof ArrayBuffer) return { $bytes: hexOf(new Uint8Array(value)) };
    if (value instanceof Date)
      return Number.isNaN(value.getTime()) ? { $other: "an invalid Date" } : value.toISOString();
    return { $other: kindOf(value) };
  };

  let call;
  let name;
  let columns = [];
  let rows = 0;
  let row = 0;
  let open; // rows of one call that did not fit into the last reply
  let given; // the input row they came from

  class Refusal extends Error {}
  const isRow = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  function inputRow(i) {
    const tuple = {};
    for (let c = 0; c < names.length; c++) {
      const value = columns[c][i];
      tuple[names[c]] = value === null || decoders[c] === undefined ? value : decoders[c](value);
    }
    return tuple;
  }

  /** What one call gave, as an iterator of rows; undefined for none. */
  function rowsOf(result) {
    if (result === null || result === undefined) return undefined;
    if (typeof result === "object" && typeof result.then === "function")
      throw new Refusal(`${name} returned a promise; make it an ordinary function.`);
    if (typeof result === "object" && typeof result[Symbol.iterator] === "function") return result[Symbol.iterator]();
    if (isRow(result)) return [result][Symbol.iterator]();
    throw new Refusal(`${name} returned ${kindOf(result)}; return an object, an array of objects, or null.`);
  }

  function add(reply, value) {
    if (value === null || value === undefined) return;
    if (!isRow(value))
      throw new Refusal(`${name} returned a list with ${kindOf(value)} in it; each element is an object.`);
    const merged = retain ? { ...given, ...value } : value;
    for (const column of output)
      if (!(column.name in merged))
        throw new Refusal(
          `${name} returned a row without the column "${column.name}"; return it, or null for no value.`,
        );
    for (let c = 0; c < output.length; c++) reply.columns[c].push(encode(merged[output[c].name], output[c].type));
    reply.origins.push(row);
    reply.rows++;
  }

  function fill(reply, limit) {
    while (reply.rows < limit) {
      if (open === undefined) {
        if (row >= rows) return true;
        const tuple = inputRow(row);
        given = retain ? { ...tuple } : undefined;
        open = rowsOf(call(tuple));
      }
      while (open !== undefined && reply.rows < limit) {
        const { done, value } = open.next();
        if (done) open = undefined;
        else add(reply, value);
      }
      if (open === undefined) row++;
    }
    return open === undefined && row >= rows;
  }

  /** The user's part of a trace. */
  const traceOf = (error) =>
    String(error?.stack ?? "")
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.includes("postern-driver.js"))
      .join("\n");

  const failureOf = (error) => {
    if (error instanceof Refusal) return { kind: "output", message: error.message, trace: "", row };
    const isError = error instanceof Error;
    const message = isError ? `${error.name}: ${error.message}` : `thrown: ${shown(error)}`;
    // When there is no memory left even for an error, QuickJS throws null.
    const outOfMemory =
      error === null || (isError && error.name === "InternalError" && /out of memory/.test(error.message));
    return {
      kind: outOfMemory ? "memory" : "exception",
      message,
      trace: isError ? `${message}\n${traceOf(error)}` : "",
      row,
    };
  };

  return {
    use: (userFunction, userName) => {
      call = userFunction;
      name = userName;
    },
    start: (text) => {
      ({ rows, columns } = parse(text));
      row = 0;
      open = undefined;
    },
    next: (limit) => {
      const reply = { rows: 0, origins: [], columns: output.map(() => []), done: false };
      try {
        reply.done = fill(reply, limit);
      } catch (error) {
        return stringify({ error: failureOf(error) });
      }
      return stringify(reply);
    },
    row: () => row,
  };
};
