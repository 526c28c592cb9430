// The sessions' half of the line: what the caller asks goes to the streams, what happens there comes back to the session
// it concerns.
//
// B1  The streams keep the process alive only while something is attached or served.
// B2  A thread that breaks ends every session as lost, and every call from then on with the same error.
import type { Channel } from "@grpc/grpc-js";
import { Command, ExecutionSpec, ExecutionState, Manifest } from "../contract/postern/v1/execution.js";
import { AppError, invalid } from "../core/app-error.js";
import { createLogger } from "../process/log.js";
import { openChannel } from "../rpc/channel.js";
import { type FromStreams, type SessionNumber, unpackEnd, unpackError } from "./messages.js";
import { Session } from "./session.js";
import type {
  ConnectOptions,
  ExecutorConnection,
  ExecutorSession,
  ServeEnd,
  ServeOptions,
  SessionEnd,
} from "./session-api.js";
import type { Streams } from "./streams.js";

interface Attaching {
  spec: ExecutionSpec;
  token: string;
  resolve(session: ExecutorSession): void;
  reject(error: AppError): void;
}

interface Serving extends ServeOptions {
  end(end: ServeEnd): void;
  fail(error: AppError): void;
  /** What runs. */
  running: Set<Promise<void>>;
}

export class Connection implements ExecutorConnection {
  readonly #options: Pick<ConnectOptions, "outbox" | "servers">;
  readonly #log;
  readonly #streams: Streams;
  readonly #attaching = new Map<SessionNumber, Attaching>();
  readonly #sessions = new Map<SessionNumber, Session>();
  #serving: Serving | undefined;
  #next: SessionNumber = 0;
  /** Channels opened so far. */
  #dialled = 0;
  #broken: AppError | undefined;
  #closing: Promise<void> | undefined;
  #closed: () => void = () => {};

  constructor(options: Pick<ConnectOptions, "outbox" | "servers" | "log">, streams: Streams) {
    this.#options = options;
    this.#log = options.log ?? createLogger("executor-session", "silent");
    this.#streams = streams;
    streams.onFailure((error) => this.#break(error));
    streams.listen((message) => this.#take(message));
  }

  attach({ spec, token }: { spec: ExecutionSpec; token: string }): Promise<ExecutorSession> {
    return new Promise((resolve, reject) => {
      this.#refuseWhenOver();
      const session = this.#next;
      this.#next += 2;
      this.#attaching.set(session, { spec, token, resolve, reject });
      this.#streams.keepAlive(true);
      const { executionId, attempt, planDigest, leaseMs } = spec;
      this.#streams.post({ kind: "attach", session, spec: { executionId, attempt, planDigest, leaseMs }, token });
    });
  }

  async serve(options: ServeOptions, stop: AbortSignal): Promise<ServeEnd> {
    this.#refuseWhenOver();
    if (this.#serving) throw invalid("This connection serves already; one computing unit for each.");
    const token = options.readToken();
    if (stop.aborted) return { kind: "stopped" };
    const running = new Set<Promise<void>>();
    const served = new Promise<ServeEnd>((resolve, reject) => {
      this.#serving = { ...options, end: resolve, fail: reject, running };
    });
    this.#streams.keepAlive(true);
    this.#streams.post({ kind: "serve", token, slots: options.slots, graceMs: options.graceMs });
    const onStop = () => this.#streams.post({ kind: "stopServing" });
    stop.addEventListener("abort", onStop, { once: true });
    try {
      return await served;
    } finally {
      stop.removeEventListener("abort", onStop);
      await Promise.all(running);
      this.#serving = undefined;
      this.#restIfIdle();
    }
  }

  openChannel(): Channel {
    this.#refuseWhenOver();
    const { servers } = this.#options;
    return openChannel(servers[this.#dialled++ % servers.length]!);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (!this.#broken) {
      this.#streams.keepAlive(true);
      await new Promise<void>((resolve) => {
        this.#closed = resolve;
        this.#streams.post({ kind: "close" });
      });
    }
    await this.#streams.stop();
  }

  #refuseWhenOver(): void {
    if (this.#broken) throw this.#broken;
    if (this.#closing) throw new AppError("cancelled", "CANCELLED", "This connection has been closed; make a new one.");
  }

  /** B1 */
  #restIfIdle(): void {
    if (this.#attaching.size === 0 && this.#sessions.size === 0 && !this.#serving && !this.#closing)
      this.#streams.keepAlive(false);
  }

  #take(message: FromStreams): void {
    switch (message.kind) {
      case "welcome": {
        const { spec, token, resolve } = this.#attaching.get(message.session)!;
        this.#attaching.delete(message.session);
        resolve(this.#openSession(spec, token, message));
        break;
      }
      case "assigned":
        this.#startServed(
          this.#openSession(ExecutionSpec.decode(message.spec), message.token, message),
          message.session,
        );
        break;
      case "token":
        this.#sessions.get(message.session)?.setToken(message.token);
        break;
      case "room":
        this.#sessions.get(message.session)?.setRoom(message.room);
        break;
      case "command":
        this.#sessions.get(message.session)?.takeCommand(Command.decode(message.command));
        break;
      case "ended":
        this.#end(message.session, unpackEnd<SessionEnd>(message.end));
        break;
      case "serveWelcome":
        this.#serving?.onWelcome?.(message.computingUnitId);
        break;
      case "serveTokenWanted":
        this.#streams.post({ kind: "serveToken", token: this.#serveToken() });
        break;
      case "served":
        this.#serving?.end(unpackEnd<ServeEnd>(message.end));
        break;
      case "stalled":
        this.#serving?.fail(unpackError(message.error));
        break;
      case "log": {
        const { err } = message.fields;
        const isError = typeof err === "object" && err !== null && "reason" in err;
        const fields = isError ? { ...message.fields, err: unpackError(err as never) } : message.fields;
        this.#log[message.level](fields, message.message);
        break;
      }
      case "ping":
        this.#streams.post({ kind: "pong" });
        break;
      case "closed":
        this.#closed();
        break;
    }
  }

  #openSession(
    spec: ExecutionSpec,
    token: string,
    { session: number, lastSequence, room }: Extract<FromStreams, { kind: "welcome" | "assigned" }>,
  ): Session {
    const session = new Session({
      number,
      spec,
      port: this.#streams,
      limits: this.#options.outbox ?? {},
      lastSequence,
      room,
      token,
    });
    this.#sessions.set(number, session);
    return session;
  }

  #startServed(session: Session, number: SessionNumber): void {
    const serving = this.#serving!;
    const work = runServed(serving, session)
      .catch((error: unknown) => {
        const { executionId } = session.spec;
        this.#log.error({ err: error, executionId }, "a served execution could not be ended; it is given back");
        return session.leave("its end could not be reported");
      })
      .then(() => {
        serving.running.delete(work);
        this.#streams.post({ kind: "released", session: number });
      });
    serving.running.add(work);
  }

  #serveToken(): string | undefined {
    try {
      return this.#serving?.readToken();
    } catch (error) {
      this.#log.warn({ err: error }, "the token file cannot be read; going on with the token in memory");
      return undefined;
    }
  }

  #end(number: SessionNumber, end: SessionEnd): void {
    const attaching = this.#attaching.get(number);
    this.#attaching.delete(number);
    if (attaching) attaching.reject(errorOf(end));
    this.#sessions.get(number)?.end(end);
    this.#sessions.delete(number);
    this.#restIfIdle();
  }

  /** B2 */
  #break(error: AppError): void {
    this.#broken = error;
    this.#log.error({ err: error }, error.message);
    for (const number of [...this.#attaching.keys(), ...this.#sessions.keys()])
      this.#end(number, { kind: "lost", error });
    this.#serving?.fail(error);
    this.#closed();
  }
}

/** Why a session never came about. */
const errorOf = (end: SessionEnd): AppError =>
  "error" in end
    ? end.error
    : new AppError("cancelled", "CANCELLED", "The connection was closed before the server answered.");

async function runServed({ run }: Serving, session: Session): Promise<void> {
  try {
    await session.complete(await run(session));
  } catch (error) {
    // Work that was told to stop may end as it likes; nobody waits for its report.
    if (!session.signal.aborted) await session.complete(failed(error));
  }
}

/** What the server stores of it, in characters. */
const FAILURE_TEXT = 16_384;

const failed = (error: unknown): Manifest =>
  Manifest.fromPartial({
    state: ExecutionState.EXECUTION_STATE_FAILED,
    failure: {
      reason: "INTERNAL",
      message: `The executor failed: ${error instanceof Error ? error.message : String(error)}`.slice(0, FAILURE_TEXT),
    },
  });
