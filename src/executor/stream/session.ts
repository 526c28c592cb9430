// One execution from its assignment to its end: attach, run, and attach again as often as the stream breaks, while the
// lease may still be ours.
//
// S1  The run starts after the first Welcome, when the lease is known to be held.
// S2  A reconnect never restarts the run: it goes on beside it, and the outbox keeps what was not acknowledged.
// S3  A refused lease or token stops the run: somebody else has the execution, or nobody.
// S4  After the end nothing is left: no process, no temporary file, no timer.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Command,
  CommandKind,
  type ExecutionSpec,
  type ExecutionState,
  type Hello,
  type Manifest,
} from "../../contract/postern/v1/execution.js";
import { UserFunction_Language } from "../../contract/postern/v1/plan.js";
import type { AppError } from "../../core/app-error.js";
import { createBackoff } from "../../process/backoff.js";
import type { Logger } from "../../process/log.js";
import { failedManifest } from "../run/manifest.js";
import { runPlan } from "../run/plan-run.js";
import { createReport } from "../run/report.js";
import type { UserCodeHost } from "../user-code/host.js";
import { type AttachmentEnd, type AttachStream, attach } from "./attachment.js";
import { Outbox } from "./outbox.js";
import { tokenHolder } from "./token-holder.js";

/** How the execution ended for this executor. */
export type SessionEnd =
  /** The server has the final report. */
  | { kind: "reported"; state: ExecutionState }
  /** Somebody else has it, or it has ended: the work was stopped. */
  | { kind: "refused"; error: AppError }
  /** The server could not be reached for so long that the lease must be gone. */
  | { kind: "lost"; cause: unknown }
  /** This executor gave it up. */
  | { kind: "left" };

export interface SessionDeps {
  openAttach(token: string): AttachStream;
  executorId: string;
  host: UserCodeHost;
  memoryLimitMb: number;
  threads: number;
  /** Each execution gets a directory of its own below. */
  workDirectory: string;
  log: Logger;
  now?: () => number;
}

export const PROTOCOL_VERSION = 1;
export const SOFTWARE = "postern-executor/0.1.0";

/**
 * How long to go on without a server, in leases. The lease itself runs out sooner, but only a server can give the work
 * to somebody else: while all of them are gone, going on loses nothing, and a server restart is no failed attempt.
 */
const UNREACHABLE_LEASES = 8;

const LANGUAGES = {
  python: UserFunction_Language.LANGUAGE_PYTHON,
  javascript: UserFunction_Language.LANGUAGE_JAVASCRIPT,
} as const;
/** What Hello says of user code. */
export const capabilitiesOf = (host: UserCodeHost): Pick<Hello, "sandboxLayers" | "languages"> => ({
  sandboxLayers: host.layers,
  languages: host.languages.map((language) => LANGUAGES[language]),
});

/** Runs one execution; `leave` aborts when the executor stops and cannot wait for the end. */
export async function runExecution(
  deps: SessionDeps,
  assignment: { spec: ExecutionSpec; token: string },
  leave: AbortSignal,
): Promise<SessionEnd> {
  const session = new Session(deps, assignment);
  return session.run(leave);
}

class Session {
  readonly #deps: SessionDeps;
  readonly #spec: ExecutionSpec;
  readonly #token: ReturnType<typeof tokenHolder>;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #outbox: Outbox;
  readonly #stop = new AbortController();
  readonly #directory: string;
  #running: Promise<void> | undefined;
  #over = false;
  #manifest: Manifest | undefined;

  constructor(deps: SessionDeps, { spec, token }: { spec: ExecutionSpec; token: string }) {
    this.#deps = deps;
    this.#spec = spec;
    this.#token = tokenHolder(token);
    this.#now = deps.now ?? Date.now;
    this.#log = deps.log.child({ executionId: spec.executionId, attempt: spec.attempt });
    this.#outbox = new Outbox({ attempt: spec.attempt, now: () => new Date(this.#now()) });
    this.#directory = join(deps.workDirectory, `${spec.executionId}-${spec.attempt}`);
  }

  async run(leave: AbortSignal): Promise<SessionEnd> {
    try {
      return await this.#stayAttached(leave);
    } finally {
      // S4. Nobody listens any more: what the run still wants to say is refused, and it stops.
      this.#over = true;
      this.#stop.abort();
      this.#outbox.close(new Error("The execution has left this executor."));
      await this.#running;
      await rm(this.#directory, { recursive: true, force: true });
    }
  }

  async #stayAttached(leave: AbortSignal): Promise<SessionEnd> {
    const backoff = createBackoff({ firstMs: 50, maxMs: 2_000 });
    let lastUpAt = this.#now();
    while (!leave.aborted) {
      const end = await attach(this.#attachDeps(), leave);
      if (end.kind !== "lost" && end.kind !== "drained") return this.#ended(end);
      if (end.upForMs > 0) lastUpAt = this.#now();
      if (end.kind === "lost") {
        if (this.#now() - lastUpAt > this.#spec.leaseMs * UNREACHABLE_LEASES) return { kind: "lost", cause: end.cause };
        this.#log.warn({ err: end.cause }, "the stream to the server broke; attaching again");
      }
      // `attach` and the loop see the signal too.
      await delay(backoff.nextDelayMs(end.upForMs), undefined, { signal: leave }).catch(() => {});
    }
    return { kind: "left" };
  }

  #ended(end: Exclude<AttachmentEnd, { kind: "lost" | "drained" }>): SessionEnd {
    if (end.kind === "done") return { kind: "reported", state: end.state };
    // A refusal after Complete was sent: the end was committed, and only its confirmation was lost.
    if (end.kind === "refused" && this.#manifest && end.error.reason === "ILLEGAL_TRANSITION")
      return { kind: "reported", state: this.#manifest.state };
    if (end.kind === "refused")
      this.#log.warn({ err: end.error }, "the server refused this attempt; its work is stopped");
    return end;
  }

  #attachDeps() {
    const { executionId, attempt, planDigest, leaseMs } = this.#spec;
    const hello: Hello = {
      protocolVersion: PROTOCOL_VERSION,
      executionId,
      attempt,
      executorId: this.#deps.executorId,
      software: SOFTWARE,
      planDigest,
      ...capabilitiesOf(this.#deps.host),
    };
    return {
      open: this.#deps.openAttach,
      hello,
      outbox: this.#outbox,
      token: this.#token,
      onWelcome: (lastSequence: bigint) => this.#welcomed(lastSequence),
      onCommand: (command: Command) => this.#carryOut(command),
      manifest: () => this.#manifest,
      leaseMs,
      now: this.#now,
      log: this.#log,
    };
  }

  #welcomed(lastSequence: bigint): void {
    if (this.#running) this.#outbox.resume(lastSequence);
    else {
      this.#outbox.begin(lastSequence);
      this.#running = this.#runPlan();
    }
  }

  /** Never rejects: whatever a run comes to is its manifest. */
  async #runPlan(): Promise<void> {
    const { host, memoryLimitMb, threads } = this.#deps;
    const report = createReport({ outbox: this.#outbox, now: this.#now });
    try {
      this.#manifest = await runPlan({
        spec: this.#spec,
        report,
        host,
        memoryLimitMb,
        threads,
        workDirectory: this.#directory,
        now: () => new Date(this.#now()),
        elapsed: () => performance.now(),
        log: this.#log,
        signal: this.#stop.signal,
      });
    } catch (error) {
      // After the session's end the outbox refuses what a run still wants to say, and nobody waits for its manifest.
      if (this.#over) return;
      this.#log.error({ err: error }, "the run ended without a report");
      this.#manifest = failedManifest(this.#spec, error, report.dropped());
    } finally {
      report.finish();
      this.#outbox.wakeup.wake();
    }
  }

  #carryOut({ kind, reason }: Command): string {
    switch (kind) {
      case CommandKind.COMMAND_KIND_CANCEL:
      case CommandKind.COMMAND_KIND_KILL:
        this.#log.info({ reason }, "asked to stop this execution");
        this.#stop.abort();
        return "";
      case CommandKind.COMMAND_KIND_PAUSE:
      case CommandKind.COMMAND_KIND_RESUME:
        return "not supported by this executor";
      default:
        return "unknown to this executor";
    }
  }
}
