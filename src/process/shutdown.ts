// The orderly end of a program: a signal comes, what was opened last is closed first, then the process ends by itself.
//
// P1  Each part is closed once, even when several signals come.
// P2  A part that fails to close is reported and does not keep the others open.
// P3  A second signal, or the deadline, ends the process at once: nobody needs kill -9.
import type { Logger } from "./log.js";

export interface Shutdown {
  /** Aborts when the end begins. */
  signal: AbortSignal;
  /** Adds a part; parts are closed in the reverse order, one after the other. */
  add(name: string, close: () => Promise<unknown> | unknown): void;
  /** Begins the end; resolves when every part is closed. */
  stop(why: string): Promise<void>;
  /** Resolves when every part is closed, whoever began. */
  stopped: Promise<void>;
}

interface Options {
  log: Logger;
  /** How long everything may take before the process ends regardless. Default 30 s. */
  deadlineMs?: number;
  /** Signals that begin the end. */
  signals?: NodeJS.Signals[];
  /** Ends the process at once. */
  exit?: (code: number) => void;
}

export function createShutdown({
  log,
  deadlineMs = 30_000,
  signals = ["SIGTERM", "SIGINT"],
  exit = process.exit,
}: Options): Shutdown {
  const controller = new AbortController();
  const parts: { name: string; close: () => Promise<unknown> | unknown }[] = [];
  let ending: Promise<void> | undefined;
  let tellStopped = () => {};
  const stopped = new Promise<void>((resolve) => {
    tellStopped = resolve;
  });

  async function closeAll(why: string): Promise<void> {
    log.info({ why }, "stopping");
    const deadline = setTimeout(() => {
      log.error({ deadlineMs }, "stopping took too long; ending at once");
      exit(1);
    }, deadlineMs);
    controller.abort(new Error(`stopping: ${why}`));
    for (let part = parts.pop(); part; part = parts.pop()) {
      try {
        await part.close();
      } catch (error) {
        log.error({ err: error }, `${part.name} could not be closed in order`);
      }
    }
    clearTimeout(deadline);
    for (const signal of signals) process.off(signal, onSignal);
    log.info("stopped");
    tellStopped();
  }

  function stop(why: string): Promise<void> {
    ending ??= closeAll(why);
    return ending;
  }

  function onSignal(signal: NodeJS.Signals): void {
    if (ending) {
      log.warn({ signal }, "asked a second time; ending at once");
      exit(1);
    } else void stop(signal);
  }

  for (const signal of signals) process.on(signal, onSignal);
  return { signal: controller.signal, add: (name, close) => void parts.push({ name, close }), stop, stopped };
}
