// One Serve stream of the fake server: welcomes the pooled executor, answers its heartbeats, keeps what it says.
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { ServeHello, ServeRequest, ServeResponse } from "../contract/postern/v1/execution.js";
import type { AppError } from "../core/app-error.js";
import { statusOf } from "../rpc/status.js";

export type ServeCall = ServerDuplexStream<ServeRequest, ServeResponse>;
export type ServeFrame = NonNullable<ServeRequest["frame"]>;
export type ServeReply = NonNullable<ServeResponse["frame"]>;

export interface ServeWorld {
  leaseMs: number;
  serveHellos: ServeHello[];
  /** Frames after the hello, without heartbeats. */
  served: ServeFrame[];
  /** When heartbeats came, in milliseconds of a monotonic clock. */
  serveHeartbeats: number[];
  pooled: Set<FakeServe>;
  violations: string[];
  /** Called with each hello; an AppError refuses it. */
  onServeHello(hello: ServeHello): AppError | undefined;
  look(): void;
}

export class FakeServe {
  readonly #world: ServeWorld;
  readonly #call: ServeCall;
  #helloSaid = false;
  #over = false;

  constructor(world: ServeWorld, call: ServeCall) {
    this.#world = world;
    this.#call = call;
    for (const event of ["error", "cancelled"]) call.on(event, () => this.#end());
    call.on("data", ({ frame }: ServeRequest) => {
      if (frame && !this.#over) this.#take(frame);
      world.look();
    });
    call.on("end", () => {
      this.#end();
      call.end();
    });
  }

  send(frame: ServeReply): void {
    if (!this.#over) this.#call.write({ frame });
  }

  /** Ends the stream with an error. */
  fail(error: AppError): void {
    if (this.#over) return;
    this.#end();
    this.#call.emit(
      "error",
      statusOf(error, () => {}),
    );
  }

  #end(): void {
    this.#over = true;
    this.#world.pooled.delete(this);
    this.#world.look();
  }

  #take(frame: ServeFrame): void {
    const { leaseMs, serveHellos, served, serveHeartbeats, pooled, violations, onServeHello } = this.#world;
    if (frame.$case !== "hello" && !this.#helloSaid) {
      violations.push(`The first frame on Serve was ${frame.$case}: ServeHello is the first frame.`);
      return;
    }
    switch (frame.$case) {
      case "hello": {
        this.#helloSaid = true;
        serveHellos.push(frame.value);
        const refusal = onServeHello(frame.value);
        if (refusal) return void this.fail(refusal);
        pooled.add(this);
        return void this.send({ $case: "welcome", value: { computingUnitId: "unit", leaseMs, serverId: "fake" } });
      }
      case "heartbeat":
        serveHeartbeats.push(performance.now());
        return void this.send({ $case: "heartbeat", value: { sentAt: new Date() } });
      default:
        served.push(frame);
    }
  }
}
