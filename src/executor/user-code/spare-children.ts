// Children that are started before anyone needs them, one for each language: whoever needs one gets it at once, and
// another is started in its place when that one has been done with, or has been at work for a while.
//
// S1  A child serves whoever takes it, once; nothing comes back here.
// S2  A spare that has ended is forgotten, and not replaced before the next one is taken.
// S3  Spares keep neither this process nor a run from ending.
import { freemem } from "node:os";
import type { Language } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import type { StartedChild } from "./started-child.js";

export interface SpareChildren {
  /** A started child, spare or fresh. */
  take(language: Language): Promise<StartedChild>;
  /** Kills the spares and waits until nothing of them is left; afterwards there are no more. */
  close(): Promise<void>;
}

/** With less memory than this to spare on the host, or within the executor's container, nothing waits idly. */
const SHORT_OF_MEMORY_BYTES = 512 * 1024 * 1024;

/**
 * Starting Python with its libraries takes a processor for most of a second, and a run that has just got its child, or
 * is storing what that gave, needs the processors more than the next run does.
 */
const REPLACE_AFTER_USE_MS = 500;
/** Others may need one meanwhile. */
const REPLACE_AT_THE_LATEST_MS = 5_000;

interface Deps {
  /** Kept ready; none: every child is started when it is needed. */
  languages: Language[];
  start(language: Language): Promise<StartedChild>;
  log: Logger;
  /** Memory that can be had, in bytes. */
  freeMemory?: () => number;
  replaceAtTheLatestMs?: number;
}

export function createSpareChildren({
  languages,
  start,
  log,
  freeMemory = availableMemory,
  replaceAtTheLatestMs = REPLACE_AT_THE_LATEST_MS,
}: Deps): SpareChildren {
  const spares = new Map<Language, Promise<StartedChild | undefined>>();
  const timers = new Set<NodeJS.Timeout>();
  let closed = false;

  function prepare(language: Language): void {
    if (closed || spares.has(language) || freeMemory() < SHORT_OF_MEMORY_BYTES) return;
    const starting = start(language).then(
      (child) => {
        hold(child, false);
        child.ended.then(() => {
          if (spares.get(language) === starting) spares.delete(language); // S2
        });
        return child;
      },
      (error: unknown) => {
        if (spares.get(language) === starting) spares.delete(language);
        log.warn({ err: error, language }, "no spare process for user code could be started");
        return undefined;
      },
    );
    spares.set(language, starting);
  }

  function prepareIn(ms: number, language: Language): void {
    if (closed || !languages.includes(language)) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      prepare(language);
    }, ms);
    timer.unref();
    timers.add(timer);
  }

  async function spareOrFresh(language: Language): Promise<StartedChild> {
    const waiting = spares.get(language);
    spares.delete(language);
    const spare = await waiting;
    const isAlive = spare !== undefined && spare.process.exitCode === null && spare.process.signalCode === null;
    if (!isAlive) return start(language);
    hold(spare, true);
    return spare;
  }

  for (const language of languages) prepare(language);

  return {
    async take(language) {
      prepareIn(replaceAtTheLatestMs, language);
      const child = await spareOrFresh(language);
      child.ended.then(() => prepareIn(REPLACE_AFTER_USE_MS, language));
      return child;
    },
    async close() {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      const last = await Promise.all(spares.values());
      spares.clear();
      await Promise.all(
        last.map(async (child) => {
          if (!child) return;
          hold(child, true); // the caller waits for its end
          child.tree.kill();
          await child.gone;
        }),
      );
    },
  };
}

/** Whether the child keeps this process from ending (S3). */
function hold({ process: child }: StartedChild, holds: boolean): void {
  const held = [child, ...child.stdio] as ({ ref?(): void; unref?(): void } | null)[];
  for (const one of held) {
    if (holds) one?.ref?.();
    else one?.unref?.();
  }
}

/** Knows the limit of a container, where the release of Node does. */
const availableMemory = (): number => {
  const { availableMemory: available } = process as NodeJS.Process & { availableMemory?: () => number };
  return available?.call(process) ?? freemem();
};
