// Runs the plan of one session: what the server commands reaches the run, what the run says reaches the server.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { CacheMode, type Command, CommandKind, type Manifest } from "../contract/postern/v1/execution.js";
import type { ExecutorSession } from "../executor-session/session-api.js";
import type { Logger } from "../process/log.js";
import type { HoldChannel } from "./cache/channel-share.js";
import { createPortCache, noCache, type PortCache } from "./cache/port-cache.js";
import { failedManifest } from "./run/manifest.js";
import { runPlan } from "./run/plan-run.js";
import { createReport } from "./run/report.js";
import { createRunControl, type RunControl } from "./run/run-control.js";
import type { UserCodeHost } from "./user-code/host.js";

export interface RunSessionDeps {
  host: UserCodeHost;
  memoryLimitMb: number;
  /** What queries of one execution may put on disk now, in megabytes; left out: nine tenths of what is free. */
  tempShareMb?(): Promise<number>;
  threads: number;
  /** Each execution gets a directory of its own below. */
  workDirectory: string;
  /** How long user code may go on after a cancel, in milliseconds. */
  cancelGraceMs: number;
  /** For calls beside the stream; the same for all executions. */
  holdChannel: HoldChannel;
  log: Logger;
}

/**
 * Resolves with the manifest; rejects only after the session's end, when nobody waits for one. Either way nothing is
 * left of the run: no process, no temporary file, no timer.
 */
export async function runSession(deps: RunSessionDeps, session: ExecutorSession): Promise<Manifest> {
  const { spec, signal } = session;
  const log = deps.log.child({ executionId: spec.executionId, attempt: spec.attempt });
  const directory = join(deps.workDirectory, `${spec.executionId}-${spec.attempt}`);
  const report = createReport({ session, now: Date.now });
  const control = createRunControl({ report, cancelGraceMs: deps.cancelGraceMs, elapsed: () => performance.now() });
  const stop = () => control.killNow();
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  const cache = cacheFor(deps, session, log);
  session.onCommand((command) => carryOut(control, command, log));
  log.info("execution taken");
  try {
    return await runPlan({
      ...deps,
      spec,
      report,
      workDirectory: directory,
      tempMaxMb: await deps.tempShareMb?.(),
      now: () => new Date(),
      elapsed: () => performance.now(),
      log,
      control,
      cache,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    log.error({ err: error }, "the run ended without a report");
    return failedManifest(spec, error, report.dropped());
  } finally {
    signal.removeEventListener("abort", stop);
    await control.finish();
    await cache.close();
    report.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

function cacheFor({ holdChannel }: RunSessionDeps, session: ExecutorSession, log: Logger): PortCache {
  const { executionId, cache } = session.spec;
  if (cache?.mode === CacheMode.CACHE_MODE_SKIP) return noCache("The execution skips the cache.");
  return createPortCache({
    executionId,
    holdChannel,
    token: () => session.token(),
    elapsed: () => performance.now(),
    log,
  });
}

function carryOut(control: RunControl, { kind, reason }: Command, log: Logger): string {
  switch (kind) {
    case CommandKind.COMMAND_KIND_CANCEL:
      log.info({ reason }, "asked to cancel this execution");
      control.cancel();
      return "";
    case CommandKind.COMMAND_KIND_KILL:
      log.info({ reason }, "asked to kill this execution");
      control.killNow();
      return "";
    case CommandKind.COMMAND_KIND_PAUSE:
      return control.pauseRun();
    case CommandKind.COMMAND_KIND_RESUME:
      return control.resumeRun();
    default:
      return "unknown to this executor";
  }
}
