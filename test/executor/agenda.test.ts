import { expect } from "chai";
import fc from "fast-check";
import { globalPortId, type PhysicalPlan } from "../../src/core/plan.js";
import { nextPasses, type PortGraph, portGraph, type Work, workLeft } from "../../src/executor/run/agenda.js";
import { columns, outputKey, planOf, query } from "../support/physical-plans.js";

const N = columns("n:long");
const id = (operatorId: string) => globalPortId(outputKey(operatorId));
const ids = (text: string) => new Set(text.split(" ").filter(Boolean).map(id));
const named = (ports: Iterable<string>) => [...ports].map((port) => /logicalOpId=([^,]+)/.exec(port)![1]);
const op = (name: string, inputs = 1, materialized = true) => ({
  ...query(name, "filter", Array<typeof N>(inputs).fill(N), "", N),
  materialized,
});

/** What an executor would do now, as "region: ports". */
function passes(plan: PhysicalPlan, there: string, expected: string, isIdle = false): string[] {
  const graph = portGraph(plan);
  const work = workLeft(graph, ids(there), ids(expected));
  const isThere = (port: string) => ids(there).has(port);
  const isExpected = (port: string) => ids(expected).has(port);
  return nextPasses(work, isThere, isExpected, isIdle).map(
    ({ region, write }) => `${region.id}: ${named(write).join(" ")}`,
  );
}

describe("what a run has left to do", () => {
  // a ─▶ b ─▶ d, a ─▶ c ─▶ d, each in a region of its own
  const diamond = planOf(
    [op("a", 0), op("b"), op("c"), op("d", 2)],
    ["a>b", "a>c", "b>d:0", "c>d:1"],
    ["0: a", "1: b", "1: c", "2: d"],
  );

  it("is what leads to the wanted ports, and begins where everything read is there", () => {
    expect(passes(diamond, "", "")).to.deep.equal(["1: a"]);
    expect(passes(diamond, "a", "")).to.deep.equal(["2: b", "3: c"]);
    expect(passes(diamond, "a b", "")).to.deep.equal(["3: c"]);
    expect(passes(diamond, "a b c d", "")).to.deep.equal([]);
  });

  it("leaves out what leads only to ports that are there or expected", () => {
    const work = workLeft(portGraph({ ...diamond, operators: viewing(diamond, "d") }), ids("b"), ids("c"));
    expect(named(work.own.keys())).to.deep.equal(["d"]);
    expect(named(work.awaited)).to.deep.equal(["c"]);
    expect([...work.maybe].toSorted(), "if c does not come").to.deep.equal(["a/main", "c/main"]);
  });

  it("goes on beside an expected port with whatever does not read it", () => {
    expect(passes(diamond, "", "a")).to.deep.equal([]);
    expect(passes(diamond, "a", "c")).to.deep.equal(["2: b"]);
  });

  it("takes the ports of a region that wait for nothing, and leaves those that do", () => {
    const plan = planOf(
      [op("p", 0), op("s", 0, false), op("x"), op("y", 2)],
      ["s>x", "s>y:0", "p>y:1"],
      ["0: p", "1: s x y"],
    );
    expect(passes(plan, "", "p")).to.deep.equal(["2: x"]);
    expect(passes(plan, "", ""), "its own work is not waited for in vain").to.deep.equal(["1: p"]);
    expect(passes(plan, "p", "")).to.deep.equal(["2: x y"]);
  });

  it("gets regions out of a circle that wait for each other", () => {
    const plan = planOf([op("a", 0), op("b"), op("c")], ["a>b", "b>c"], ["0: a c", "1: b"]);
    expect(passes(plan, "", "")).to.deep.equal([]);
    expect(passes(plan, "", "", true)).to.deep.equal(["1: a"]);
    expect(passes(plan, "a", "", true)).to.deep.equal(["2: b"]);
    expect(passes(plan, "a b", "", true)).to.deep.equal(["1: c"]);
  });

  it("ends for any executions that wait for each other, whatever their regions and whoever dies", () => {
    fc.assert(
      fc.property(arbitraryWorld(), ({ plans, deaths, picks }) => {
        const world = new World(plans, deaths, picks);
        world.toTheEnd();
      }),
      { numRuns: 300 },
    );
  });
});

const viewing = (plan: PhysicalPlan, operatorId: string) =>
  plan.operators.map((o) => ({
    ...o,
    outputs: o.outputs.map((port) => ({ ...port, viewed: o.operatorId === operatorId })),
  }));

/** Plans over the same operators, each cut and looked at in its own way. */
function arbitraryWorld() {
  const size = 8;
  const links = fc.subarray(
    Array.from({ length: size }, (_, to) => Array.from({ length: to }, (_, from) => [from, to] as const)).flat(),
    { minLength: 5 },
  );
  const cut = fc.record({
    steps: fc.array(fc.boolean(), { minLength: size * size, maxLength: size * size }),
    kept: fc.array(fc.boolean(), { minLength: size, maxLength: size }),
  });
  return fc
    .record({
      links,
      cuts: fc.array(cut, { minLength: 2, maxLength: 4 }),
      deaths: fc.array(fc.nat({ max: 40 }), { maxLength: 2 }),
      picks: fc.infiniteStream(fc.nat({ max: 1_000 })),
    })
    .map(({ links: chosen, cuts, deaths, picks }) => ({
      plans: cuts.map(({ steps, kept }) => planCut(size, chosen, steps, kept)),
      deaths,
      picks,
    }));
}

/** Regions by stages, as a compiler may cut them: a link rises to another stage or not, as `steps` says. */
function planCut(size: number, links: (readonly [number, number])[], steps: boolean[], kept: boolean[]): PhysicalPlan {
  const stage = Array<number>(size).fill(0);
  for (let to = 0; to < size; to++)
    for (const [from] of links.filter(([, target]) => target === to))
      stage[to] = Math.max(stage[to]!, stage[from]! + (steps[from * size + to] ? 1 : 0));
  const members = [...new Set(stage)].sort().map((s) => [s, stage.flatMap((of, n) => (of === s ? [n] : []))] as const);
  const crosses = (n: number) => links.some(([from, to]) => from === n && stage[to] !== stage[n]);
  const feeds = (n: number) => links.filter(([, to]) => to === n);
  const drafts = stage.map((_, n) => {
    const isLast = !links.some(([from]) => from === n);
    return op(`o${n}`, feeds(n).length, kept[n]! || isLast || crosses(n));
  });
  return planOf(
    drafts,
    stage.flatMap((_, n) => feeds(n).map(([from], port) => `o${from}>o${n}:${port}`)),
    members.map(([s, of]) => `${s}: ${of.map((n) => `o${n}`).join(" ")}`),
  );
}

interface Execution {
  graph: PortGraph;
  there: Set<string>;
  busy: Set<string>;
  reserved: Set<string>;
  dead: boolean;
}

/** Executions that share a cache, by the rules of port-sources.ts, one step of one of them at a time. */
class World {
  readonly #entries = new Set<string>();
  readonly #holders = new Map<string, Execution>();
  readonly #executions: Execution[];
  readonly #deaths: number[];
  readonly #picks: Iterator<number>;

  constructor(plans: PhysicalPlan[], deaths: number[], picks: Iterator<number>) {
    this.#executions = plans.map((plan) => ({
      graph: portGraph(plan),
      there: new Set(),
      busy: new Set(),
      reserved: new Set(),
      dead: false,
    }));
    this.#deaths = deaths;
    this.#picks = picks;
  }

  toTheEnd(): void {
    for (let step = 0; ; step++) {
      if (this.#deaths.includes(step)) this.#kill(this.#executions[step % this.#executions.length]!);
      const open = this.#executions.filter((one) => !one.dead);
      const works = open.map((one) => ({ one, work: this.#settle(one) }));
      const left = works.filter(
        ({ one, work }) => ![...work.own.keys()].every((port) => one.there.has(port)) || work.awaited.size > 0,
      );
      if (left.length === 0) return;
      const able = left.flatMap(({ one, work }) => this.#passes(one, work).map((pass) => ({ one, pass })));
      if (able.length === 0) throw new Error(`nobody can go on after ${step} steps`);
      const { one, pass } = able[this.#picks.next().value! % able.length]!;
      for (const port of pass.write) this.#write(one, port);
    }
  }

  #passes(one: Execution, work: Work) {
    return nextPasses(
      work,
      (port) => one.there.has(port),
      (port) => one.busy.has(port),
      false,
    );
  }

  #write(one: Execution, port: string): void {
    one.there.add(port);
    if (!one.reserved.delete(port)) return;
    this.#holders.delete(port);
    this.#entries.add(port);
  }

  #settle(one: Execution): Work {
    for (const port of [...one.busy]) {
      const holder = this.#holders.get(port);
      if (this.#entries.has(port)) one.there.add(port);
      else if (holder === undefined) this.#reserve(one, port);
      if (holder === undefined || this.#entries.has(port)) one.busy.delete(port);
    }
    for (;;) {
      const work = workLeft(one.graph, one.there, one.busy);
      const unasked = [...work.own.keys()].filter((port) => !one.there.has(port) && !one.reserved.has(port));
      if (unasked.length === 0) {
        for (const port of one.reserved) if (!work.own.has(port)) this.#release(one, port);
        return work;
      }
      for (const port of unasked) {
        if (this.#entries.has(port)) one.there.add(port);
        else if (this.#holders.has(port)) one.busy.add(port);
        else this.#reserve(one, port);
      }
    }
  }

  #reserve(one: Execution, port: string): void {
    this.#holders.set(port, one);
    one.reserved.add(port);
  }

  #release(one: Execution, port: string): void {
    one.reserved.delete(port);
    this.#holders.delete(port);
  }

  #kill(one: Execution): void {
    one.dead = true;
    for (const port of [...one.reserved]) this.#release(one, port);
  }
}
