// The schema binder: a few binding processes and the requests that wait for one.
//
// P1  Requests are taken in the order they came. A plan has one at a time, so a large plan does not hold up a small one.
// P2  A request that takes too long or too much memory, or ends its process, ends alone: those that wait get another process.
// P3  A process is started when requests wait, and only as many as may run; a start that fails fails one request.
import { AppError } from "../../core/app-error.js";
import type { BindRequest, BindResult } from "../../core/schema-binding.js";
import { type BindingChild, type BindingLimits, startBindingChild, TooCostly } from "./binding-child.js";

const MOST_CHILDREN = 2;
const MOST_WAITING = 1_000;

export interface SchemaBinder {
  /** Rejects with the signal's reason when it aborts; what is under way then is left to end by itself. */
  bindSchemas(request: BindRequest, signal?: AbortSignal): Promise<BindResult>;
  /** Ends every process, and refuses what waits for one. */
  close(): Promise<void>;
}

export interface SchemaBinderOptions extends Partial<BindingLimits> {
  startChild?: (limits: BindingLimits) => BindingChild;
}

interface Waiting {
  request: BindRequest;
  resolve(result: BindResult): void;
  reject(error: unknown): void;
}

/** Starts the first process and waits until it is ready; calls may run side by side. */
export async function createSchemaBinder({
  timeoutMs = 5_000,
  startMs = 30_000,
  startChild = startBindingChild,
}: SchemaBinderOptions = {}): Promise<SchemaBinder> {
  const children = new Set<BindingChild>();
  const idle = new Set<BindingChild>();
  const queue: Waiting[] = [];
  let starting = 0;
  let closed = false;

  function start(): Promise<void> {
    const child = startChild({ timeoutMs, startMs });
    children.add(child);
    starting++;
    void child.ended.then(() => {
      children.delete(child);
      idle.delete(child);
      serve();
    });
    return child.ready
      .finally(() => starting--)
      .then(() => {
        idle.add(child);
        serve();
      });
  }

  /** Gives waiting requests to idle processes, and starts a process when some are left. */
  function serve(): void {
    for (const child of idle) {
      const next = queue.shift();
      if (!next) return;
      idle.delete(child);
      void run(child, next);
    }
    while (!closed && queue.length > starting && children.size < MOST_CHILDREN)
      start().catch((error) => queue.shift()?.reject(error)); // P3
  }

  async function run(child: BindingChild, { request, resolve, reject }: Waiting): Promise<void> {
    try {
      resolve(await child.bind(request));
      idle.add(child);
      serve();
    } catch (error) {
      // The process has ended with it; its end serves those who wait.
      if (error instanceof TooCostly) resolve(tooCostly(error));
      else reject(closed ? stopping() : error);
    }
  }

  function bindSchemas(request: BindRequest, signal?: AbortSignal): Promise<BindResult> {
    if (closed) return Promise.reject(stopping());
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (queue.length >= MOST_WAITING) return Promise.reject(busy());
    let leave = () => {};
    const answer = new Promise<BindResult>((resolve, reject) => {
      const mine: Waiting = { request, resolve, reject };
      leave = () => {
        const at = queue.indexOf(mine);
        if (at >= 0) queue.splice(at, 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", leave, { once: true });
      queue.push(mine);
      serve();
    });
    return answer.finally(() => signal?.removeEventListener("abort", leave));
  }

  async function close(): Promise<void> {
    closed = true;
    for (const { reject } of queue.splice(0)) reject(stopping());
    const ends = [...children].map((child) => child.ended);
    for (const child of children) child.kill();
    await Promise.all(ends);
  }

  await start();
  return { bindSchemas, close };
}

const tooCostly = ({ what }: TooCostly): BindResult => ({
  ok: false,
  findings: [{ property: "", message: `Checking this operator takes ${what}; simplify its expressions.` }],
});

const stopping = () => new AppError("unavailable", "DRAINING", "This server is stopping; ask again.");

const busy = () =>
  new AppError("unavailable", "UNAVAILABLE", "The server has too many plans to check; try again in a moment.");
