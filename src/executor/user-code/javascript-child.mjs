// The process that runs JavaScript user code: QuickJS compiled to WebAssembly, inside a Node process that may read only
// what it is made of. Plain JavaScript, because Node runs it as it is, without a loader.
//
// Frames come on standard input and leave on descriptor 3; standard output and error carry what user code prints.
// The first error ends the process: after one, the WebAssembly module is not to be trusted.
import { readFileSync, readSync, writeSync } from "node:fs";
import { newQuickJSWASMModuleFromVariant, newVariant, RELEASE_SYNC } from "quickjs-emscripten";

// Equal rows give equal results on every host: local time is UTC's.
process.env.TZ = "UTC";

const REPLIES = 3;
const ROWS_PER_REPLY = 4_096;
const STACK_BYTES = 256 * 1024;
const PAGE_BYTES = 64 * 1024;
/** What the module needs to start, and the most its format allows. */
const LEAST_PAGES = 256;
const MOST_PAGES = 32_768;
const pagesFor = (bytes) => Math.min(MOST_PAGES, Math.max(LEAST_PAGES, Math.floor(bytes / PAGE_BYTES)));
const DRIVER = new URL("./quickjs-driver.js", import.meta.url);

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

function readExactly(size) {
  const bytes = Buffer.allocUnsafe(size);
  let filled = 0;
  while (filled < size) {
    const count = retried(() => readSync(0, bytes, filled, size - filled, null));
    if (count === 0) return undefined;
    filled += count;
  }
  return bytes;
}

/** The text of the next frame; undefined once the other side has closed. */
function readFrame() {
  const head = readExactly(4);
  return head && readExactly(head.readUInt32LE(0))?.toString("utf8");
}

function writeAll(descriptor, bytes) {
  for (let sent = 0; sent < bytes.length; ) sent += retried(() => writeSync(descriptor, bytes, sent));
}

function writeFrame(text) {
  const body = Buffer.from(text);
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32LE(body.length, 0);
  writeAll(REPLIES, Buffer.concat([head, body]));
}

class VmError extends Error {
  constructor(dumped) {
    super();
    this.dumped = dumped;
  }
}

const settingsText = readFrame();
if (settingsText !== undefined) await serve(settingsText);

async function serve(text) {
  const settings = JSON.parse(text);
  // The limit is the WebAssembly memory itself: QuickJS's own limit counts allocations in this build, not their sizes.
  const wasmMemory = new WebAssembly.Memory({ initial: LEAST_PAGES, maximum: pagesFor(settings.memoryBytes) });
  const module = await newQuickJSWASMModuleFromVariant(newVariant(RELEASE_SYNC, { wasmMemory }));
  const runtime = module.newRuntime();
  runtime.setMaxStackSize(STACK_BYTES);
  let deadline = Date.now() + settings.batchMs;
  runtime.setInterruptHandler(() => Date.now() > deadline);
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
  const driverOf = unwrap(vm.evalCode(readFileSync(DRIVER, "utf8").replace(/;\s*$/, ""), "postern-driver.js"));
  const driver = call(driverOf, vm.newString(text), print);
  const [use, start, next, row] = ["use", "start", "next", "row"].map((name) => vm.getProp(driver, name));

  /** Carries out `work`; an error is told, and ends the process. */
  function told(work) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      const timedOut = Date.now() > deadline;
      deadline = Date.now() + 1_000;
      writeFrame(JSON.stringify({ error: failure(error.dumped, timedOut) }));
      process.exit(0);
    }
  }

  function failure(dumped, timedOut) {
    // When there is no memory left even for an error, QuickJS throws null.
    const { name = "Error", message = "", stack = "" } = dumped ?? { name: "InternalError", message: "out of memory" };
    const head = typeof dumped === "string" || typeof dumped === "number" ? `thrown: ${dumped}` : `${name}: ${message}`;
    const trace = String(stack)
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.includes("postern-driver.js"))
      .join("\n");
    const kind = timedOut ? "timeout" : /out of memory/.test(head) ? "memory" : "exception";
    return { kind, message: head, trace: `${head}\n${trace}`, row: rowNow() };
  }

  function rowNow() {
    try {
      return vm.getNumber(call(row));
    } catch {
      return undefined; // the machine is past answering; the error is told without a row
    }
  }

  told(() => {
    unwrap(vm.evalCode(settings.code, "user-code.js")).dispose();
    const name = settings.entryPoint;
    const entry = unwrap(vm.evalCode(`typeof ${name} === "function" ? ${name} : undefined`, "postern-driver.js"));
    if (vm.typeof(entry) !== "function")
      throw new VmError({ name: "ReferenceError", message: `the code defines no function ${name}` });
    call(use, entry, vm.newString(name)).dispose();
  });
  writeFrame('{"ready":true}');

  for (let batch = readFrame(); batch !== undefined; batch = readFrame()) {
    deadline = Date.now() + settings.batchMs;
    told(() => {
      const argument = vm.newString(batch);
      call(start, argument).dispose();
      argument.dispose();
    });
    for (let done = false; !done; ) {
      const reply = told(() => {
        const limit = vm.newNumber(ROWS_PER_REPLY);
        const value = call(next, limit);
        const result = vm.getString(value);
        value.dispose();
        return result;
      });
      writeFrame(reply);
      if (reply.startsWith('{"error"')) process.exit(0);
      done = reply.endsWith('"done":true}');
    }
  }
  process.exit(0);
}
