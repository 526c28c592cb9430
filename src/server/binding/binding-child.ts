// A binding process as the server sees it. It has no environment and nothing of the server's but a pipe, so an
// expression that breaks out of DuckDB finds no secret; and it can be killed, which is the only thing that stops DuckDB
// while it binds.
//
// C1  One request at a time; whatever ends a request other than by an answer has ended the process too.
// C2  The process ends with its parent, however that ends (binding-process.ts).
// C3  It keeps the parent's event loop alive only while it starts or answers.
import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { BindRequest, BindResult } from "../../core/schema-binding.js";
import { watchMemory } from "../../process/memory-watch.js";
import type { BindingMessage } from "./binding-process.js";

/** The answer took longer, or more memory, than allowed. */
export class TooCostly extends Error {
  constructor(readonly what: "too long" | "too much memory") {
    super(`It takes ${what}.`);
  }
}

export interface BindingChild {
  readonly pid: number | undefined;
  /** Resolves when requests are answered; rejects when the process cannot start. */
  readonly ready: Promise<void>;
  /** Resolves when the process has ended; never rejects. */
  readonly ended: Promise<void>;
  /** Binds one operator; rejects with TooCostly, or with an error that tells how the process ended. */
  bind(request: BindRequest): Promise<BindResult>;
  kill(): void;
}

export interface BindingLimits {
  /** How long one request may take. */
  timeoutMs: number;
  /** How long the process may take to start. */
  startMs: number;
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

// As the server itself runs: from the sources, with their loader in execArgv, and from dist alike.
const ENTRY = fileURLToPath(new URL(`./binding-process${extname(import.meta.url)}`, import.meta.url));
const MOST_HEAP = "--max-old-space-size=256";
/** DuckDB may have 256 MB (binding-database.ts), and Node needs some. */
const MOST_BYTES = 700 * 1024 * 1024;

/** Starts a process; it is of use once `ready` has resolved. */
export function startBindingChild({ timeoutMs, startMs }: BindingLimits): BindingChild {
  const child = fork(ENTRY, [], {
    // A debugger's port can be listened on once only.
    execArgv: [...process.execArgv.filter((argument) => !argument.startsWith("--inspect")), MOST_HEAP],
    env: {},
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  let current: Waiting<BindResult> | undefined;
  let starting: Waiting<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let unwatch = () => {};
  let over: Error | undefined;

  /** Whoever waits hears why; the process, if it still runs, ends. */
  function end(error: Error): void {
    over ??= error;
    rest();
    starting?.reject(over);
    current?.reject(over);
    starting = current = undefined;
    child.ref(); // whoever waits for its end may have nothing else to wait for
    child.kill("SIGKILL");
  }
  function work(limitMs: number, why: () => Error): void {
    timer = setTimeout(() => end(why()), limitMs);
    child.ref();
    child.channel?.ref();
  }
  function rest(): void {
    clearTimeout(timer);
    unwatch();
    child.unref();
    child.channel?.unref();
  }

  const ready = new Promise<void>((resolve, reject) => {
    starting = { resolve, reject };
  });
  ready.catch(() => {}); // a start that fails is told to whoever awaits it
  const ended = endOf(child);
  void ended.then((how) => end(new Error(`The process that checks expressions ended: ${how}.`)));
  work(startMs, () => new Error(`The process that checks expressions did not start within ${startMs} ms.`));
  child.on("message", (message: BindingMessage) => {
    if (over) return;
    if (message.kind === "failure") return end(new Error(`Checking an operator failed: ${message.stack}`));
    rest();
    if (message.kind === "ready") starting?.resolve();
    else current?.resolve(message.result);
    starting = current = undefined;
  });

  return {
    pid: child.pid,
    ready,
    ended: ended.then(() => {}),
    bind(request) {
      if (over) return Promise.reject(over);
      return new Promise<BindResult>((resolve, reject) => {
        current = { resolve, reject };
        work(timeoutMs, () => new TooCostly("too long"));
        unwatch = watchMemory(child.pid, MOST_BYTES, () => end(new TooCostly("too much memory")));
        child.send(request, (error) => error && end(error));
      });
    },
    kill: () => end(new Error("The process that checks expressions was stopped.")),
  };
}

/** How the process ended, in words. */
const endOf = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    // After a start that failed no exit follows; after any other error one does.
    child.on("error", (error) => child.pid === undefined && resolve(error.message));
  });
