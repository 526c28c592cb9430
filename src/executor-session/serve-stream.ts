// One Serve stream from ServeHello to its end: assignments come in, free slots are told.
import type { Assignment, ServeHello, ServeRequest, ServeResponse } from "../contract/postern/v1/execution.js";
import type { AppError } from "../core/app-error.js";
import type { ServeStream as Stream } from "./dialer.js";
import { isFinal, LiveStream } from "./live-stream.js";
import type { StreamLog } from "./messages.js";
import type { TokenHolder } from "./token-holder.js";
import { type TokenRefresh, tokenRefresh } from "./token-refresh.js";

/** How one Serve stream ended. */
export type ServeStreamEnd =
  | { kind: "lost"; upForMs: number; cause: unknown }
  | { kind: "drained"; upForMs: number }
  | { kind: "refused"; error: AppError }
  | { kind: "left" };

export interface ServeStreamDeps {
  hello: ServeHello;
  token: TokenHolder;
  onWelcome(computingUnitId: string): void;
  freeSlots(): number;
  /** Starts an execution; returns why not, or an empty text. */
  take(assignment: Assignment): string;
  now: () => number;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
  log: StreamLog;
}

/** Until Welcome tells. */
const FIRST_LEASE_MS = 15_000;

export class ServeStream {
  readonly #deps: ServeStreamDeps;
  readonly #live: LiveStream<ServeResponse, ServeRequest, ServeStreamEnd>;
  readonly #refresh: TokenRefresh;
  #welcomedAt: number | undefined;
  #leaving = false;

  constructor(deps: ServeStreamDeps, stream: Stream) {
    this.#deps = deps;
    this.#refresh = tokenRefresh({ ...deps, ask: () => this.#say({ $case: "tokenRefresh", value: {} }) });
    this.#live = new LiveStream<ServeResponse, ServeRequest, ServeStreamEnd>({
      stream,
      leaseMs: FIRST_LEASE_MS,
      elapsed: deps.elapsed,
      take: ({ frame }) => frame && this.#take(frame),
      beat: () => this.#beat(),
      endOf: (error) => this.#endOf(error),
    });
  }

  async run(stop: AbortSignal): Promise<ServeStreamEnd> {
    const goodbye = () => {
      this.#leaving = true;
      this.#say({ $case: "goodbye", value: { reason: "the executor stops" } });
      this.#live.leave({ kind: "left" });
    };
    this.#say({ $case: "hello", value: this.#deps.hello });
    if (stop.aborted) goodbye();
    else stop.addEventListener("abort", goodbye, { once: true });
    const end = await this.#live.ended;
    stop.removeEventListener("abort", goodbye);
    this.#refresh.stop();
    return end;
  }

  tellFreeSlots(): void {
    if (this.#welcomedAt !== undefined && !this.#leaving)
      this.#say({ $case: "slotsChanged", value: { freeSlots: this.#deps.freeSlots() } });
  }

  #say = (frame: NonNullable<ServeRequest["frame"]>): Promise<void> => this.#live.say({ frame });

  #upForMs = () => (this.#welcomedAt === undefined ? 0 : this.#deps.elapsed() - this.#welcomedAt);

  #endOf(cause: unknown): ServeStreamEnd {
    if (this.#leaving) return { kind: "left" };
    return isFinal(cause) ? { kind: "refused", error: cause } : { kind: "lost", upForMs: this.#upForMs(), cause };
  }

  #take(frame: NonNullable<ServeResponse["frame"]>): void {
    const { hello, token, log } = this.#deps;
    switch (frame.$case) {
      case "welcome":
        this.#welcomedAt = this.#deps.elapsed();
        this.#live.setLease(frame.value.leaseMs);
        this.#refresh.start();
        this.#deps.onWelcome(frame.value.computingUnitId);
        if (this.#deps.freeSlots() !== hello.slots) this.tellFreeSlots();
        break;
      case "assignment": {
        const refused = this.#leaving ? "the executor is stopping" : this.#deps.take(frame.value);
        const executionId = frame.value.spec?.executionId ?? "";
        this.#say({ $case: "assignmentAck", value: { executionId, refused } });
        break;
      }
      case "tokenGrant":
        token.replace(frame.value.token);
        this.#refresh.start();
        break;
      case "drain":
        log("info", { graceMs: frame.value.graceMs }, "the server ends this stream; connecting elsewhere");
        this.#live.leave({ kind: "drained", upForMs: this.#upForMs() });
        break;
      case "heartbeat":
        break;
    }
  }

  #beat(): void {
    if (this.#welcomedAt !== undefined && !this.#leaving)
      this.#say({ $case: "heartbeat", value: { sentAt: new Date(this.#deps.now()) } });
  }
}
