// The pooled executor: connected to its computing unit, it takes executions and runs as many side by side as it has slots.
//
// V1  Executions outlive the stream that brought them: each has an Attach stream of its own, and a lost Serve stream
//     only means that nothing new comes for a while.
// V2  What is free is told after every Welcome and after every end, as a level.
// V3  Asked to stop, it takes nothing more, lets what runs finish within the grace, and gives the rest back (Goodbye).
import { setTimeout as delay } from "node:timers/promises";
import type { Assignment, ServeHello, ServeRequest, ServeResponse } from "../../contract/postern/v1/execution.js";
import type { AppError } from "../../core/app-error.js";
import { createBackoff } from "../../process/backoff.js";
import type { ClientDuplex } from "../../rpc/channel.js";
import { isFinal, LiveStream } from "./live-stream.js";
import { capabilitiesOf, PROTOCOL_VERSION, runExecution, type SessionDeps, SOFTWARE } from "./session.js";
import { expiresAt, type TokenHolder, tokenHolder } from "./token-holder.js";

export type ServeStream = ClientDuplex<ServeResponse, ServeRequest>;

export interface ServeDeps extends SessionDeps {
  openServe(token: string): ServeStream;
  /** Reads the serve token from its file; it may have been replaced since. */
  readToken(): string;
  slots: number;
  /** Called at each Welcome. */
  onWelcome(computingUnitId: string): void;
  /** How long executions may go on after `stop`. */
  graceMs: number;
}

/** Why the executor does not serve any more. */
export type ServeEnd = { kind: "stopped" } | { kind: "refused"; error: AppError };

/** How one Serve stream ended. */
type StreamEnd =
  | { kind: "lost"; upForMs: number; cause: unknown }
  | { kind: "drained"; upForMs: number }
  | { kind: "refused"; error: AppError }
  | { kind: "left" };

/** Until Welcome tells. */
const FIRST_LEASE_MS = 15_000;
const REFRESH_AGAIN_MS = 10_000;

/** Serves until `stop` aborts or the server refuses this executor; resolves when nothing runs any more. */
export async function serve(deps: ServeDeps, stop: AbortSignal): Promise<ServeEnd> {
  const pool = new Pool(deps);
  const token = tokenHolder(deps.readToken());
  const backoff = createBackoff({ firstMs: 100, maxMs: 5_000 });
  let end: ServeEnd = { kind: "stopped" };
  while (!stop.aborted) {
    const used = token.current();
    const ended = await new ServeConnection(deps, pool, token).run(stop);
    if (ended.kind === "left") break;
    takeNewerToken(deps, token);
    if (ended.kind === "refused") {
      if (ended.error.code === "unauthenticated" && token.current() !== used) continue;
      end = ended;
      break;
    }
    if (ended.kind === "lost")
      deps.log.warn({ err: ended.cause }, "the connection to the server broke; connecting again");
    await delay(backoff.nextDelayMs(ended.upForMs), undefined, { signal: stop }).catch(() => {}); // the loop sees it too
  }
  await pool.finish(end.kind === "refused" ? 0 : deps.graceMs);
  return end;
}

/** The file's token, if it lives longer than the one in memory. */
function takeNewerToken({ readToken, log }: ServeDeps, token: TokenHolder): void {
  try {
    const inFile = readToken();
    if (expiresAt(inFile) > expiresAt(token.current())) token.replace(inFile);
  } catch (error) {
    log.warn({ err: error }, "the token file cannot be read; going on with the token in memory");
  }
}

/** The executions that run here. */
class Pool {
  readonly #deps: ServeDeps;
  readonly #running = new Map<string, Promise<void>>();
  readonly #leave = new AbortController();
  /** Told after every end, by the connection of the moment. */
  onFree: () => void = () => {};

  constructor(deps: ServeDeps) {
    this.#deps = deps;
  }

  get freeSlots(): number {
    return Math.max(0, this.#deps.slots - this.#running.size);
  }

  /** Starts an execution; returns why not, or an empty text. */
  take({ spec, token }: Assignment): string {
    if (!spec) return "the assignment holds no spec";
    const key = `${spec.executionId}/${spec.attempt}/${spec.epoch}`;
    if (this.#running.has(key)) return "";
    if (this.freeSlots === 0) return "every slot is taken";
    const log = this.#deps.log.child({ executionId: spec.executionId, attempt: spec.attempt });
    log.info("execution taken");
    const run = runExecution(this.#deps, { spec, token }, this.#leave.signal)
      .then(
        (end) => log.info({ end: end.kind }, "execution ended here"),
        (error: unknown) => log.error({ err: error }, "execution ended here by a fault"),
      )
      .then(() => {
        this.#running.delete(key);
        this.onFree();
      });
    this.#running.set(key, run);
    return "";
  }

  /** Waits for what runs, `graceMs` at most; what is not done by then is given back. */
  async finish(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#leave.abort(new Error("the executor stops")), graceMs);
    await Promise.all(this.#running.values());
    clearTimeout(timer);
  }
}

class ServeConnection {
  readonly #deps: ServeDeps;
  readonly #pool: Pool;
  readonly #token: TokenHolder;
  readonly #now: () => number;
  readonly #live: LiveStream<ServeResponse, ServeRequest, StreamEnd>;
  #welcomedAt: number | undefined;
  #leaving = false;
  #refreshAskedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: ServeDeps, pool: Pool, token: TokenHolder) {
    this.#deps = deps;
    this.#pool = pool;
    this.#token = token;
    this.#now = deps.now ?? Date.now;
    this.#live = new LiveStream<ServeResponse, ServeRequest, StreamEnd>({
      stream: deps.openServe(token.current()),
      leaseMs: FIRST_LEASE_MS,
      now: this.#now,
      take: ({ frame }) => frame && this.#take(frame),
      tick: () => this.#tick(),
      endOf: (error) => this.#endOf(error),
    });
  }

  async run(stop: AbortSignal): Promise<StreamEnd> {
    const { executorId, slots, host } = this.#deps;
    const hello: ServeHello = {
      protocolVersion: PROTOCOL_VERSION,
      executorId,
      software: SOFTWARE,
      slots,
      labels: {},
      ...capabilitiesOf(host),
    };
    const goodbye = () => {
      this.#leaving = true;
      this.#say({ $case: "goodbye", value: { reason: "the executor stops" } });
      this.#live.leave({ kind: "left" });
    };
    this.#say({ $case: "hello", value: hello });
    this.#pool.onFree = () => this.#tellFreeSlots();
    if (stop.aborted) goodbye();
    else stop.addEventListener("abort", goodbye, { once: true });
    const end = await this.#live.ended;
    stop.removeEventListener("abort", goodbye);
    this.#pool.onFree = () => {};
    return end;
  }

  #say = (frame: NonNullable<ServeRequest["frame"]>): Promise<void> => this.#live.say({ frame });

  #upForMs = () => (this.#welcomedAt === undefined ? 0 : this.#now() - this.#welcomedAt);

  #endOf(cause: unknown): StreamEnd {
    if (this.#leaving) return { kind: "left" };
    return isFinal(cause) ? { kind: "refused", error: cause } : { kind: "lost", upForMs: this.#upForMs(), cause };
  }

  #take(frame: NonNullable<ServeResponse["frame"]>): void {
    switch (frame.$case) {
      case "welcome":
        this.#welcomedAt = this.#now();
        this.#live.setLease(frame.value.leaseMs);
        this.#deps.onWelcome(frame.value.computingUnitId);
        if (this.#pool.freeSlots !== this.#deps.slots) this.#tellFreeSlots();
        break;
      case "assignment": {
        const refused = this.#leaving ? "the executor is stopping" : this.#pool.take(frame.value);
        const executionId = frame.value.spec?.executionId ?? "";
        this.#say({ $case: "assignmentAck", value: { executionId, refused } });
        break;
      }
      case "tokenGrant":
        this.#token.replace(frame.value.token);
        break;
      case "drain":
        this.#deps.log.info({ graceMs: frame.value.graceMs }, "the server is stopping; connecting elsewhere");
        this.#live.leave({ kind: "drained", upForMs: this.#upForMs() });
        break;
      case "heartbeat":
        break;
    }
  }

  #tellFreeSlots(): void {
    if (this.#welcomedAt !== undefined && !this.#leaving)
      this.#say({ $case: "slotsChanged", value: { freeSlots: this.#pool.freeSlots } });
  }

  #tick(): void {
    if (this.#welcomedAt === undefined || this.#leaving) return;
    this.#say({ $case: "heartbeat", value: { sentAt: new Date(this.#now()) } });
    if (this.#now() < this.#token.refreshAt() || this.#now() - this.#refreshAskedAt < REFRESH_AGAIN_MS) return;
    this.#refreshAskedAt = this.#now();
    this.#say({ $case: "tokenRefresh", value: {} });
  }
}
