// Children that are started before anyone needs them, one for each language: whoever needs one gets it at once, and
// another is started in its place a little later.
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

/** A run that has just got its child needs the processors more than the next run does. */
const REPLACE_AFTER_MS = 500;

interface Deps {
  /** Kept ready; none: every child is started when it is needed. */
  languages: Language[];
  start(language: Language): Promise<StartedChild>;
  log: Logger;
  /** Memory that can be had, in bytes. */
  freeMemory?: () => number;
}

export function createSpareChildren({ languages, start, log, freeMemory = availableMemory }: Deps): SpareChildren {
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

  function prepareLater(language: Language): void {
    if (closed || !languages.includes(language)) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      prepare(language);
    }, REPLACE_AFTER_MS);
    timer.unref();
    timers.add(timer);
  }

  for (const language of languages) prepare(language);

  return {
    async take(language) {
      const waiting = spares.get(language);
      spares.delete(language);
      prepareLater(language);
      const spare = await waiting;
      const isAlive = spare !== undefined && spare.process.exitCode === null && spare.process.signalCode === null;
      if (!isAlive) return start(language);
      hold(spare, true);
      return spare;
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
