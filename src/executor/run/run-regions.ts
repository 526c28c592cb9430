// Runs the regions of a plan as what they read comes to be there: by their own work, out of the cache, or from another
// execution. agenda.ts says what may begin, and why nobody waits for ever.
//
// Q1  A pass over a region begins when every port it reads is there; at most REGIONS_AT_ONCE run side by side, one per
//     region. Waiting for another execution takes no place among them.
// Q2  A region is told COMPLETED, or COMPLETED_FROM_CACHE when none of it was run, once it is sure that nothing of it has
//     to run any more: its ports are there, and so are the expected ones behind it.
// Q3  The first failure stops the regions beside it; it, not its consequences, is what is thrown.
import { RunState } from "../../contract/postern/v1/execution.js";
import { globalPortId, operatorKey, type Region } from "../../core/plan.js";
import { neededBeside, nextPasses, type Pass, type PortGraph, type Work } from "./agenda.js";
import { RunStopped, throwIfStopped } from "./failure.js";
import type { PortSources } from "./port-sources.js";
import { type RegionRunDeps, runPass } from "./region-run.js";
import type { StopSignals } from "./run-control.js";

export interface RunRegionsDeps extends RegionRunDeps {
  graph: PortGraph;
  sources: PortSources;
  /** Rung when the cache has news, and when a pass has ended. */
  bell: Bell;
}

export const REGIONS_AT_ONCE = 2;

/** Resolves when every wanted port is there; rejects with the first failure, or RunStopped. */
export async function runRegions(deps: RunRegionsDeps): Promise<void> {
  const { control } = deps;
  const failed = new AbortController();
  const signals = {
    stop: AbortSignal.any([control.stop, failed.signal]),
    kill: AbortSignal.any([control.kill, failed.signal]),
  };
  const run = new RegionsRun(deps, signals, () => failed.abort());
  await control.lane(() => run.toTheEnd());
}

class RegionsRun {
  readonly #deps: RunRegionsDeps;
  readonly #signals: StopSignals;
  readonly #fail: () => void;
  readonly #running = new Map<Region, Promise<void>>();
  /** Regions that were told RUNNING. */
  readonly #begun = new Set<Region>();
  /** Regions whose end was told. */
  readonly #over = new Set<Region>();
  #failure: { error: unknown } | undefined;
  #work: Work | undefined;

  constructor(deps: RunRegionsDeps, signals: StopSignals, fail: () => void) {
    this.#deps = deps;
    this.#signals = signals;
    this.#fail = fail;
  }

  async toTheEnd(): Promise<void> {
    try {
      await this.#go();
    } catch (error) {
      this.#take(error);
    }
    await Promise.all(this.#running.values());
    if (!this.#failure) return;
    await this.#tellOpenRegions();
    throw this.#failure.error;
  }

  async #go(): Promise<void> {
    const { control, bell, sources } = this.#deps;
    const { stop } = this.#signals;
    for (;;) {
      await control.rest(stop);
      if (sources.isDue()) this.#work = await sources.settle();
      throwIfStopped(stop);
      const work = this.#work!;
      await this.#tellEnds(work);
      this.#begin(work);
      if (this.#running.size === 0) {
        if ([...work.own.keys(), ...work.awaited].every(this.#isThere)) return await this.#tellEnds(work);
        if (!sources.isDue() && [...work.awaited].every(this.#isThere))
          throw new Error("Ports are left to compute, but nothing that can begin.");
      }
      await control.wait(bell.rung(), stop);
    }
  }

  /** Q1 */
  #begin(work: Work): void {
    const { sources } = this.#deps;
    for (const pass of nextPasses(work, this.#isThere, sources.isExpected, this.#running.size === 0)) {
      if (this.#running.size >= REGIONS_AT_ONCE) return;
      if (!this.#running.has(pass.region)) this.#running.set(pass.region, this.#run(pass, work));
    }
  }

  async #run(pass: Pass, work: Work): Promise<void> {
    const { control, graph, ports } = this.#deps;
    const { region } = pass;
    const isFirst = !this.#begun.has(region);
    this.#begun.add(region);
    const beside = neededBeside(graph, pass, work, ports.there());
    try {
      await control.lane(() =>
        runPass(this.#deps, { ...pass, isFirst, goesOn: (key) => beside.has(key) }, this.#signals),
      );
    } catch (error) {
      this.#over.add(region);
      this.#take(error);
    } finally {
      this.#running.delete(region);
      this.#deps.bell.ring();
    }
  }

  /** Q2 */
  async #tellEnds(work: Work): Promise<void> {
    const { plan, graph, report, board, ports } = this.#deps;
    const open = new Set<Region>(this.#running.keys());
    for (const { id, region } of work.own.values()) if (!this.#isThere(id)) open.add(region);
    for (const region of plan.regions) {
      if (open.has(region) || this.#over.has(region)) continue;
      const members = graph.members.get(region) ?? [];
      if (members.some((member) => work.maybe.has(operatorKey(member)))) continue;
      this.#over.add(region);
      for (const member of members)
        for (const { key } of member.outputs) {
          const rows = ports.storedOf(globalPortId(key))?.tupleCount;
          if (rows !== undefined) board.counted(key, rows);
        }
      const began = this.#begun.has(region);
      if (!began) await report.regionState(region.id, FROM_CACHE);
      for (const member of members) {
        const key = operatorKey(member);
        const state = board.stateOf(key);
        if (state === RunState.RUN_STATE_READY) await board.end(key, FROM_CACHE);
        else if (state === RunState.RUN_STATE_RUNNING) await board.end(key, RunState.RUN_STATE_COMPLETED);
      }
      if (began) await report.regionState(region.id, RunState.RUN_STATE_COMPLETED);
    }
  }

  /** Q3 */
  #take(error: unknown): void {
    this.#failure ??= { error };
    // What a cancel has stopped leaves the others their grace.
    if (!(error instanceof RunStopped)) this.#fail();
  }

  /** Regions that had begun and were waiting when the run ended. */
  async #tellOpenRegions(): Promise<void> {
    const { graph, board, report } = this.#deps;
    for (const region of this.#begun) {
      if (this.#over.has(region)) continue;
      for (const member of graph.members.get(region) ?? []) {
        const key = operatorKey(member);
        if (board.stateOf(key) === RunState.RUN_STATE_RUNNING) await board.end(key, RunState.RUN_STATE_KILLED);
      }
      await report.regionState(region.id, RunState.RUN_STATE_KILLED);
    }
  }

  #isThere = (id: string): boolean => this.#deps.ports.storedOf(id) !== undefined;
}

const FROM_CACHE = RunState.RUN_STATE_COMPLETED_FROM_CACHE;

/** Wakes one who waits; a ring that nobody waited for is kept. */
export interface Bell {
  ring(): void;
  /** Resolves at the next ring, or at once when it has rung since. */
  rung(): Promise<void>;
}

export function createBell(): Bell {
  let isRung = false;
  let wake: (() => void) | undefined;
  return {
    ring() {
      if (wake) wake();
      else isRung = true;
      wake = undefined;
    },
    rung: () =>
      new Promise((resolve) => {
        if (isRung) resolve();
        else wake = resolve;
        isRung = false;
      }),
  };
}
