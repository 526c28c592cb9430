// Schedules for a server, which must not stop to think: executors of other people wait for its answers.
//
// T1  The search begins where it is asked for, and nearly always ends there within a few milliseconds. What takes longer
//     begins anew on a thread, which all hard plans share, one after the other.
// T2  The deadline counts from the call. Whose turn has not come by then, or whose thread broke, gets what was found first:
//     a schedule that works, said to be not proven the best.
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { PhysicalPlan } from "../../core/plan.js";
import { type PlanScheduleOptions, schedulePlan } from "../../core/scheduling/schedule-plan.js";
import type { Logger } from "../../process/log.js";
import { threadProgram } from "../../process/thread-program.js";
import type { SearchRequest } from "./search-thread.js";

export type SearchOptions = Omit<PlanScheduleOptions, "viewResult" | "now"> & { deadlineMs: number };
export type ScheduledPlan = ReturnType<typeof schedulePlan>;

export interface PlanScheduler {
  /** `viewed` are the ids of operators whose results people asked for. */
  schedule(plan: PhysicalPlan, viewed: ReadonlySet<string>, options: SearchOptions): Promise<ScheduledPlan>;
  /** Ends the thread; who waits for it gets what was found first. */
  close(): Promise<void>;
}

interface Waiting {
  request: SearchRequest;
  /** When the answer is due, by `performance.now`. */
  due: number;
  answer(found?: ScheduledPlan): void;
}

/** How long the server itself thinks about one plan. */
const HERE_MS = 20;
/** Beginning anew for less is of no use. */
const WORTH_MS = 20;
/** How long after its deadline a search may answer before its thread counts as broken. */
const PATIENCE_MS = 2_000;
const PROGRAM = new URL(`./search-thread${extname(import.meta.url)}`, import.meta.url);

export function createPlanScheduler({
  log,
  program = PROGRAM,
  hereMs = HERE_MS,
  patienceMs = PATIENCE_MS,
}: {
  log: Logger;
  program?: URL;
  hereMs?: number;
  patienceMs?: number;
}): PlanScheduler {
  const queue: Waiting[] = [];
  let thread: Worker | undefined;
  let current: Waiting | undefined;
  let closed = false;

  function start(): Worker {
    const started = new Worker(threadProgram(program), {
      name: "postern-schedules",
      resourceLimits: { maxOldGenerationSizeMb: 256 },
    });
    started.unref();
    started.on("message", (found: ScheduledPlan) => end(found));
    const broken = (why: unknown) => {
      if (thread !== started) return;
      thread = undefined;
      if (!closed) log.warn({ err: why }, "the thread that searches schedules broke");
      end();
    };
    started.on("error", broken);
    started.on("exit", (code) => broken(new Error(`exit code ${code}`)));
    return started;
  }

  function end(found?: ScheduledPlan): void {
    current?.answer(found);
    current = undefined;
    next();
  }

  function next(): void {
    while (!current && queue.length > 0) {
      const waiting = queue.shift()!;
      const leftMs = waiting.due - performance.now();
      if (closed || leftMs < WORTH_MS) {
        waiting.answer();
        continue;
      }
      current = waiting;
      thread ??= start();
      const { options, ...request } = waiting.request;
      thread.postMessage({ ...request, options: { ...options, deadlineMs: leftMs } });
    }
  }

  /** Resolves with undefined when the thread has nothing better to offer in time. */
  function searchOnThread(request: SearchRequest, leftMs: number): Promise<ScheduledPlan | undefined> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout;
      const waiting: Waiting = {
        request,
        due: performance.now() + leftMs,
        answer(found) {
          clearTimeout(timer);
          resolve(found);
        },
      };
      const due = () => {
        const place = queue.indexOf(waiting);
        if (place >= 0) queue.splice(place, 1)[0]!.answer();
        else timer = setTimeout(() => void thread?.terminate(), patienceMs);
      };
      timer = setTimeout(due, leftMs);
      queue.push(waiting);
      next();
    });
  }

  return {
    async schedule(plan, viewed, options) {
      const deadlineMs = Math.min(options.deadlineMs, hereMs);
      const startedAt = performance.now();
      const first = schedulePlan(plan, { ...options, deadlineMs, viewResult: (id) => viewed.has(id) });
      const { mode = "exact" } = options;
      if (first.schedule.optimal || mode !== "exact") return first;
      const leftMs = options.deadlineMs - (performance.now() - startedAt);
      if (leftMs < WORTH_MS || closed) return first;
      const found = await searchOnThread({ plan, viewed, options }, leftMs);
      const better = found && found.schedule.cost <= first.schedule.cost ? found : first;
      return { ...better, schedule: { ...better.schedule, millis: performance.now() - startedAt } };
    },
    async close() {
      closed = true;
      await thread?.terminate();
      end();
    },
  };
}
