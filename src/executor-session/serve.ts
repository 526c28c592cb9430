// The pooled executor: connected to its computing unit, it takes executions and holds as many side by side as it has
// slots.
//
// V1  Executions outlive the stream that brought them: each has an Attach stream of its own, and a lost Serve stream
//     only means that nothing new comes for a while.
// V2  What is free is told after every Welcome and after every end, as a level.
// V3  Asked to stop, it takes nothing more, lets what runs finish within the grace, and gives the rest back (Goodbye).
import { setTimeout as delay } from "node:timers/promises";
import type { Assignment, ExecutionSpec, ServeHello } from "../contract/postern/v1/execution.js";
import { createBackoff } from "../process/backoff.js";
import type { Dialer } from "./dialer.js";
import type { StreamLog } from "./messages.js";
import { ServeStream, type ServeStreamEnd } from "./serve-stream.js";
import type { ServeEnd } from "./session-api.js";
import { expiresAt, type TokenHolder, tokenHolder } from "./token-holder.js";

export interface ServeDeps {
  dialer: Dialer;
  hello: ServeHello;
  token: string;
  /** The token in its file; undefined when it cannot be read now. */
  readToken(): Promise<string | undefined>;
  graceMs: number;
  onWelcome(computingUnitId: string): void;
  /** Takes the lease and starts the work; resolves when its slot is free again. */
  start(spec: ExecutionSpec, token: string): Promise<void>;
  /** Gives back everything that runs. */
  leaveAll(reason: string): void;
  now: () => number;
  elapsed: () => number;
  log: StreamLog;
}

const BACKOFF = { firstMs: 50, maxMs: 2_000 };
/** A stream that is drained sooner than this counts as one that failed. */
const SHORT_MS = 1_000;

/** Serves until `stop` aborts or the server refuses this executor; resolves when nothing runs any more. */
export async function serve(deps: ServeDeps, stop: AbortSignal): Promise<ServeEnd> {
  const pool = new Pool(deps);
  const token = tokenHolder(deps.token, deps.now);
  const backoff = createBackoff(BACKOFF);
  let end: ServeEnd = { kind: "stopped" };
  while (!stop.aborted) {
    const used = token.current();
    const ended = await connect(deps, pool, token, stop);
    if (ended.kind === "left") break;
    await takeNewerToken(deps, token);
    if (ended.kind === "refused") {
      if (ended.error.code === "unauthenticated" && token.current() !== used) continue;
      end = ended;
      break;
    }
    if (ended.kind === "lost")
      deps.log("warn", { err: ended.cause }, "the connection to the server broke; connecting again");
    const atOnce = ended.kind === "drained" && ended.upForMs > SHORT_MS;
    if (!atOnce) await delay(backoff.nextDelayMs(ended.upForMs), undefined, { signal: stop }).catch(() => {}); // the loop sees it too
  }
  await pool.finish(end.kind === "refused" ? 0 : deps.graceMs);
  return end;
}

async function connect(deps: ServeDeps, pool: Pool, token: TokenHolder, stop: AbortSignal): Promise<ServeStreamEnd> {
  try {
    const { stream, over } = deps.dialer.serve(token.current());
    const freeSlots = () => pool.freeSlots;
    const connection = new ServeStream({ ...deps, token, freeSlots, take: (one) => pool.take(one) }, stream);
    pool.onFree = () => connection.tellFreeSlots();
    const end = await connection.run(stop);
    over(end.kind === "lost" || end.kind === "drained");
    return end;
  } catch (cause) {
    return { kind: "lost", upForMs: 0, cause };
  } finally {
    pool.onFree = () => {};
  }
}

/** The file's token, if it lives longer than the one in memory. */
async function takeNewerToken({ readToken }: ServeDeps, token: TokenHolder): Promise<void> {
  const inFile = await readToken();
  if (inFile !== undefined && expiresAt(inFile) > token.expiresAt()) token.replace(inFile);
}

/** The executions that run here. */
class Pool {
  readonly #deps: ServeDeps;
  readonly #running = new Map<string, Promise<void>>();
  /** Told after every end, by the connection of the moment. */
  onFree: () => void = () => {};

  constructor(deps: ServeDeps) {
    this.#deps = deps;
  }

  get freeSlots(): number {
    return Math.max(0, this.#deps.hello.slots - this.#running.size);
  }

  /** Starts an execution; returns why not, or an empty text. */
  take({ spec, token }: Assignment): string {
    if (!spec) return "the assignment holds no spec";
    const key = `${spec.executionId}/${spec.attempt}/${spec.epoch}`;
    if (this.#running.has(key)) return "";
    if (this.freeSlots === 0) return "every slot is taken";
    const over = this.#deps.start(spec, token).then(() => {
      this.#running.delete(key);
      this.onFree();
    });
    this.#running.set(key, over);
    return "";
  }

  /** Waits for what runs, `graceMs` at most; what is not done by then is given back. */
  async finish(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#deps.leaveAll("the executor stops"), graceMs);
    await Promise.all(this.#running.values());
    clearTimeout(timer);
  }
}
