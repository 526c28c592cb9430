// The process that runs JavaScript user code: QuickJS compiled to WebAssembly, inside a Node process that may read only
// what it is made of. Plain JavaScript, because Node runs it as it is, without a loader.
//
// Frames (column-frames.ts) come on standard input and leave on descriptor 3; standard output and error carry what user
// code prints. The first error ends the process: after one, the WebAssembly module is not to be trusted.
import { closeSync, fstatSync, readFileSync } from "node:fs";
import { newQuickJSWASMModuleFromVariant, newVariant, RELEASE_SYNC } from "quickjs-emscripten";
import { readColumns, replyBody } from "./columns.mjs";
import { loopSource } from "./loop-source.mjs";
import { readBody, writeAll, writeBody } from "./pipes.mjs";

// Equal rows give equal results on every host: local time is UTC's.
process.env.TZ = "UTC";

const STACK_BYTES = 256 * 1024;
const PAGE_BYTES = 64 * 1024;
/** What the module needs to start, and the most its format allows. */
const LEAST_PAGES = 256;
const MOST_PAGES = 32_768;
const pagesFor = (bytes) => Math.min(MOST_PAGES, Math.max(LEAST_PAGES, Math.floor(bytes / PAGE_BYTES)));
/** Between two looks at the clock a process that ran took less: it was stopped meanwhile, and that does not count. */
const LONGEST_GAP_MS = 500;
/** Of a call over much at once, against one over a batch. */
const LONG_CALL = 10;

const [ROWS, END_OF_PORT, FINISH] = [1, 2, 3];
const [READY, DONE, ERROR] = [0, 2, 3];
const HEAD_BYTES = 16;
/** Stands between texts in one string. */
const SEPARATOR = "\x1f";

/** People are shown less; whoever reads replies takes no more than a megabyte. */
const LONGEST_ERROR = 64 * 1024;
const cut = (text) => String(text).slice(0, LONGEST_ERROR);

class VmError extends Error {
  constructor(dumped) {
    super();
    this.dumped = dumped;
  }
}

// Files that libraries of the executor had open when it started this process. Node's own descriptors are no files.
for (let descriptor = 4; descriptor < 4_096; descriptor++)
  try {
    if (fstatSync(descriptor).isFile()) closeSync(descriptor);
  } catch {
    // not open
  }

// What does not depend on the function is done while the process waits for one.
const driverText = readFileSync(new URL("./driver.js", import.meta.url), "utf8").replace(/;\s*$/, "");
const settingsBody = readBody();
if (settingsBody !== undefined)
  await serve(JSON.parse(Buffer.from(settingsBody.buffer, settingsBody.byteOffset + HEAD_BYTES).toString("utf8")));

function say(kind, content) {
  const text = content === undefined ? "" : JSON.stringify(content);
  const body = Buffer.alloc(HEAD_BYTES + Buffer.byteLength(text));
  body[0] = kind;
  body.write(text, HEAD_BYTES);
  writeBody([body]);
}

async function serve(settings) {
  // The limit is the WebAssembly memory itself: QuickJS's own limit counts allocations in this build, not their sizes.
  const wasmMemory = new WebAssembly.Memory({ initial: LEAST_PAGES, maximum: pagesFor(settings.memoryBytes) });
  const module = await newQuickJSWASMModuleFromVariant(newVariant(RELEASE_SYNC, { wasmMemory }));
  const runtime = module.newRuntime();
  runtime.setMaxStackSize(STACK_BYTES);
  const allowedMs = settings.batchMs * (settings.call === "table" || settings.call === "source" ? LONG_CALL : 1);
  const watch = { leftMs: settings.batchMs, lookedAt: Date.now() };
  const restart = (ms = allowedMs) => {
    watch.leftMs = ms;
    watch.lookedAt = Date.now();
  };
  const isOver = () => {
    const now = Date.now();
    watch.leftMs -= Math.min(LONGEST_GAP_MS, now - watch.lookedAt);
    watch.lookedAt = now;
    return watch.leftMs < 0;
  };
  runtime.setInterruptHandler(isOver);
  const vm = runtime.newContext();

  const unwrap = (result) => {
    if (!result.error) return result.value;
    const dumped = vm.dump(result.error);
    result.error.dispose();
    throw new VmError(dumped);
  };
  const call = (fn, ...args) => unwrap(vm.callFunction(fn, vm.undefined, ...args));

  const print = vm.newFunction("write", (level, line) => {
    writeAll(vm.getString(level) === "error" ? 2 : 1, Buffer.from(`${vm.getString(line)}\n`));
  });
  const send = vm.newFunction("send", (port, rows, origins, columns) => {
    const schema = settings.outputs[vm.getNumber(port)];
    const request = { vm, texts, port: vm.getNumber(port), rows: vm.getNumber(rows), origins, columns, schema };
    const body = replyBody(request);
    writeBody(body);
    restart();
    return vm.newNumber(body.reduce((sum, part) => sum + part.length, 0));
  });
  const driverOf = unwrap(vm.evalCode(driverText, "postern-driver.js"));
  const makeLoops = unwrap(vm.evalCode(loopSource(settings), "postern-loops.js"));
  const { inputs, outputs } = settings;
  const told = vm.newString(JSON.stringify({ inputs, outputs, call: settings.call, separator: SEPARATOR }));
  const driver = call(driverOf, told, print, send, makeLoops);
  const [use, rows, end, finish, row, textsOf] = ["use", "rows", "end", "finish", "row", "texts"].map((name) =>
    vm.getProp(driver, name),
  );

  /** The texts of a column one by one. */
  function texts(port, column, count) {
    const numbers = [port, column, count].map((n) => vm.newNumber(n));
    const value = call(textsOf, ...numbers);
    const list = JSON.parse(vm.getString(value));
    value.dispose();
    return list;
  }

  /** Tells what went wrong, and ends. */
  function fail(failure) {
    const { message, trace } = failure;
    say(ERROR, { ...failure, message: cut(message), trace: cut(trace) });
    process.exit(0);
  }

  /** Calls the driver; whatever it says is an error. */
  function carryOut(fn, ...args) {
    try {
      const value = call(fn, ...args);
      if (vm.typeof(value) === "string") fail(JSON.parse(vm.getString(value)));
      value.dispose();
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      fail(failureOf(error.dumped));
    }
  }

  function failureOf(dumped) {
    const timedOut = watch.leftMs < 0;
    restart(1_000);
    // When there is no memory left even for an error, QuickJS throws null.
    const { name = "Error", message = "", stack = "" } = dumped ?? { name: "InternalError", message: "out of memory" };
    const head = typeof dumped === "string" || typeof dumped === "number" ? `thrown: ${dumped}` : `${name}: ${message}`;
    const trace = String(stack)
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.includes("postern-"))
      .join("\n");
    const kind = timedOut ? "timeout" : /out of memory/.test(head) ? "memory" : "exception";
    return { kind, message: head, trace: `${head}\n${trace}`, row: rowNow() };
  }

  function rowNow() {
    try {
      return vm.dump(call(row));
    } catch {
      return undefined; // the machine is past answering; the error is told without a row
    }
  }

  /** A function the code defines under this name, or undefined. */
  const defined = (name) =>
    unwrap(vm.evalCode(`typeof ${name} === "function" ? ${name} : undefined`, "postern-driver.js"));

  try {
    restart(settings.batchMs);
    unwrap(vm.evalCode(settings.code, "user-code.js")).dispose();
    const entry = defined(settings.entryPoint);
    if (vm.typeof(entry) !== "function")
      throw new VmError({ name: "ReferenceError", message: `the code defines no function ${settings.entryPoint}` });
    const size = unwrap(vm.evalCode('typeof BATCH_SIZE === "undefined" ? undefined : BATCH_SIZE', "postern-driver.js"));
    const others = ["open", "close", "onFinish"].map(defined);
    carryOut(use, entry, vm.newString(settings.entryPoint), ...others, size);
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    fail(failureOf(error.dumped));
  }
  say(READY);

  for (let body = readBody(); body !== undefined; body = readBody()) {
    restart();
    const port = vm.newNumber(body[1]);
    if (body[0] === ROWS) {
      const given = readColumns(vm, body, settings.inputs[body[1]]);
      carryOut(rows, port, vm.newNumber(given.rows), given.columns);
      given.columns.dispose();
    } else if (body[0] === END_OF_PORT) carryOut(end, port);
    else if (body[0] === FINISH) carryOut(finish);
    say(DONE);
  }
  process.exit(0);
}
