import { expect } from "chai";
import fc from "fast-check";
import {
  globalPortId,
  operatorKey,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
} from "../../src/core/plan.js";
import { neededOperators, planReuse, type ReuseFacts, type StoredPort } from "../../src/core/reuse.js";
import { estimatePrices } from "../../src/core/reuse-prices.js";
import { sizeOf } from "../../src/core/reuse-reason.js";

const portKey = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});
const port = (operatorId: string, portId = 0): string => globalPortId(portKey(operatorId, portId, false));
const key = (operatorId: string): string => operatorKey({ operatorId, layer: "main" });

type Plan = Pick<PhysicalPlan, "operators" | "links">;
interface Draft {
  from?: (string | [string, number])[];
  outputs?: number;
  user?: boolean;
}

/** A plan from operators by id, each after what it reads; `from` names what feeds input ports 0, 1, … */
function planOf(drafts: Record<string, Draft>): Plan {
  const operators = Object.entries(drafts).map(
    ([operatorId, { from = [], outputs = 1, user = false }]): PhysicalOperator => ({
      operatorId,
      layer: "main",
      type: "test",
      properties: {},
      displayName: "",
      inputs: from.map((_, i) => ({
        key: portKey(operatorId, i, true),
        schema: [],
        dependsOn: [],
        manyLinks: false,
        partition: { kind: "none" },
      })),
      outputs: Array.from({ length: outputs }, (_, i) => ({
        key: portKey(operatorId, i, false),
        schema: [],
        blocking: false,
        mode: "set-delta",
        materialized: false,
        viewed: false,
        subdagHash: "",
        uncacheableReason: "",
      })),
      implementation: user
        ? {
            kind: "user-function",
            userFunction: {
              language: "python",
              code: "",
              entryPoint: "",
              retainInputColumns: true,
              environment: {},
              call: "tuple" as const,
            },
          }
        : { kind: "query", sql: "", furtherSql: [] },
    }),
  );
  const links = Object.entries(drafts).flatMap(([id, { from = [] }]) =>
    from.map((source, i) => {
      const [sourceId, portId] = typeof source === "string" ? [source, 0] : source;
      return {
        id: `${id}.${i}`,
        from: portKey(sourceId, portId, false),
        to: portKey(id, i, true),
        materialized: false,
        mustMaterialize: false,
        why: "",
      };
    }),
  );
  return { operators, links };
}

const stored = (byteCount: bigint, computeMs = 0): StoredPort => ({ tupleCount: 1n, byteCount, computeMs });
const facts = (of: {
  stored?: Record<string, StoredPort>;
  viewed?: string[];
  seconds?: Record<string, number>;
}): ReuseFacts => ({
  stored: new Map(Object.entries(of.stored ?? {})),
  viewed: new Set(of.viewed),
  seconds: new Map(Object.entries(of.seconds ?? {}).map(([id, seconds]) => [key(id), seconds])),
});
const executed = (plan: Plan, of: ReuseFacts): string[] =>
  [...planReuse(plan, of).execute].map((k) => k.split("/")[0]!).sort();
const decisionOn = (plan: Plan, of: ReuseFacts, id: string) =>
  planReuse(plan, of).decisions.find(({ globalPortId }) => globalPortId === id)!;

const CHAIN = planOf({ scan: {}, slow: { from: ["scan"] }, last: { from: ["slow"] } });
const SECONDS = { scan: 0.1, slow: 2, last: 0.05 };

describe("planReuse", () => {
  it("runs nothing when the result is stored, whatever else is", () => {
    const nothing = planReuse(CHAIN, facts({ stored: { [port("last")]: stored(10n ** 12n) }, seconds: SECONDS }));
    expect([...nothing.execute]).to.deep.equal([]);
    expect([...nothing.reused]).to.deep.equal([port("last")]);
    expect(nothing.decisions[0]).to.include({ reused: true, readMs: 0 });
    expect(nothing.decisions[0]!.reason).to.equal("It is there, and nothing that runs reads it.");
  });

  it("reads a stored port before what must run, and runs nothing further upstream", () => {
    const of = facts({ stored: { [port("slow")]: stored(3_100_000n), [port("scan")]: stored(10n) }, seconds: SECONDS });
    expect(executed(CHAIN, of)).to.deep.equal(["last"]);
    expect([...planReuse(CHAIN, of).reused]).to.deep.equal([port("slow")]);
    expect(decisionOn(CHAIN, of, port("slow")).reason).to.equal(
      "Reading 3.1 MB (18 ms) is cheaper than computing it again (2,002 ms).",
    );
    expect(decisionOn(CHAIN, of, port("scan"))).to.include({ reused: false, reason: "Nothing that runs reads it." });
  });

  it("computes again what is dearer to read", () => {
    const of = facts({ stored: { [port("slow")]: stored(1_000_000_000n) }, seconds: SECONDS });
    expect(executed(CHAIN, of)).to.deep.equal(["last", "scan", "slow"]);
    const decision = decisionOn(CHAIN, of, port("slow"));
    expect(decision).to.include({ reused: false, recomputeMs: 2_100 });
    expect(decision.reason).to.equal("Reading 1.0 GB (5,002 ms) is dearer than computing it again (2,100 ms).");
  });

  it("reuses when both cost the same", () => {
    const readMs = estimatePrices(CHAIN, facts({ stored: { [port("slow")]: stored(400_000n) } })).readMs.get(
      port("slow"),
    )!;
    const of = (ms: number) =>
      facts({ stored: { [port("slow")]: stored(400_000n) }, seconds: { scan: 0, slow: ms / 1_000, last: 0 } });
    expect(decisionOn(CHAIN, of(readMs), port("slow"))).to.include({ reused: true, readMs, recomputeMs: readMs });
    expect(decisionOn(CHAIN, of(readMs - 0.5), port("slow")).reused).to.equal(false);
  });

  it("reuses a viewed port whatever reading it costs, and says what reads it", () => {
    const of = facts({
      stored: { [port("slow")]: stored(10n ** 12n) },
      viewed: [port("slow")],
      seconds: SECONDS,
    });
    expect(executed(CHAIN, of)).to.deep.equal(["last"]);
    expect(decisionOn(CHAIN, of, port("slow")).reason).to.match(/^It is there; what runs reads its 1\.0 TB/);
  });

  it("runs a viewed operator that is not stored, though what follows it is", () => {
    const of = facts({ stored: { [port("last")]: stored(10n) }, viewed: [port("slow")], seconds: SECONDS });
    expect(executed(CHAIN, of)).to.deep.equal(["scan", "slow"]);
  });

  it("runs an operator of which one port is stored and another is needed, and takes both from it", () => {
    const plan = planOf({ split: { outputs: 2 }, a: { from: [["split", 0]] }, b: { from: [["split", 1]] } });
    const of = facts({ stored: { [port("split", 0)]: stored(10n) }, seconds: { split: 9, a: 1, b: 1 } });
    expect(executed(plan, of)).to.deep.equal(["a", "b", "split"]);
    const decision = decisionOn(plan, of, port("split", 0));
    expect(decision).to.include({ reused: false, recomputeMs: 0 });
    expect(decision.reason).to.match(/its operator runs anyway, for another of its ports\.$/);
    const view = facts({
      stored: { [port("split", 0)]: stored(10n) },
      viewed: [port("split", 0)],
      seconds: { split: 9 },
    });
    expect([...planReuse(plan, view).reused], "a result is not written again").to.deep.equal([port("split", 0)]);
  });

  it("takes what a stored port is known to have taken over a guess, less what its stored inputs took", () => {
    const known = facts({ stored: { [port("slow")]: stored(200_000_000n, 60_000) } });
    expect(decisionOn(CHAIN, known, port("slow"))).to.include({ reused: true, recomputeMs: 60_000 });
    const inputs = { [port("scan")]: stored(10n, 59_500), [port("slow")]: stored(200_000_000n, 60_000) };
    const decision = decisionOn(CHAIN, facts({ stored: inputs }), port("slow"));
    expect(decision.reused).to.equal(false);
    expect(decision.recomputeMs).to.be.within(500, 510);
  });

  it("thinks user code dear when nothing is known of it", () => {
    const plan = planOf({ scan: {}, code: { from: ["scan"], user: true }, last: { from: ["code"] } });
    const query = planOf({ scan: {}, code: { from: ["scan"] }, last: { from: ["code"] } });
    const of = facts({ stored: { [port("code")]: stored(5_000_000n) } });
    expect(decisionOn(plan, of, port("code")).reused).to.equal(true);
    expect(decisionOn(query, of, port("code")).reused).to.equal(false);
  });

  it("does not let a plan of many diamonds look dearer than all of its operators", () => {
    const drafts: Record<string, Draft> = { o0: {} };
    for (let i = 1; i <= 60; i++) {
      drafts[`l${i}`] = { from: [`o${i - 1}`] };
      drafts[`r${i}`] = { from: [`o${i - 1}`] };
      drafts[`o${i}`] = { from: [`l${i}`, `r${i}`] };
    }
    const plan = planOf({ ...drafts, end: { from: ["o60"] } });
    const seconds = Object.fromEntries(plan.operators.map((o) => [o.operatorId, 0.001]));
    const decision = decisionOn(plan, facts({ stored: { [port("o60")]: stored(10n) }, seconds }), port("o60"));
    expect(decision.recomputeMs).to.be.within(180, 182);
  });

  const anyPlan = fc
    .array(
      fc.record({
        outputs: fc.integer({ min: 1, max: 2 }),
        user: fc.boolean(),
        from: fc.array(fc.tuple(fc.nat(6), fc.nat(1)), { maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 7 },
    )
    .map((drafts) =>
      planOf(
        Object.fromEntries(
          drafts.map(({ outputs, user, from }, i) => [
            `o${i}`,
            {
              outputs,
              user,
              from: from
                .filter(([source]) => source < i)
                .map(([source, p]): [string, number] => [`o${source}`, Math.min(p, drafts[source]!.outputs - 1)]),
            },
          ]),
        ),
      ),
    );
  const anyCase = anyPlan.chain((plan) => {
    const ports = plan.operators.flatMap((o) => o.outputs.map((p) => globalPortId(p.key)));
    const entry = fc.record({
      tupleCount: fc.constant(1n),
      byteCount: fc.bigInt(0n, 10n ** 9n),
      computeMs: fc.oneof(fc.constant(0), fc.nat(100_000)),
    });
    return fc.record({
      plan: fc.constant(plan),
      stored: fc.subarray(ports).chain((of) => fc.tuple(...of.map((id) => entry.map((e) => [id, e] as const)))),
      viewed: fc.subarray(ports),
      seconds: fc
        .subarray(plan.operators)
        .chain((of) =>
          fc.tuple(
            ...of.map((o) => fc.double({ min: 0, max: 20, noNaN: true }).map((s) => [operatorKey(o), s] as const)),
          ),
        ),
    });
  });

  /** The results of a plan by definition: viewed, or fed to nothing. */
  const resultsOf = ({ operators, links }: Plan, viewed: readonly string[]): string[] =>
    operators
      .flatMap((o) => o.outputs.map((p) => globalPortId(p.key)))
      .filter((id) => viewed.includes(id) || !links.some((l) => globalPortId(l.from) === id));

  it("makes every needed port available, runs nothing that nobody needs, and reuses by its own numbers", () => {
    fc.assert(
      fc.property(anyCase, ({ plan, stored: entries, viewed, seconds }) => {
        const of = { stored: new Map(entries), viewed: new Set(viewed), seconds: new Map(seconds) };
        const { reused, execute, decisions } = planReuse(plan, of);
        const results = resultsOf(plan, viewed);
        const read = new Set(plan.links.filter((l) => execute.has(operatorKey(l.to))).map((l) => globalPortId(l.from)));
        for (const operator of plan.operators)
          for (const { key: k } of operator.outputs) {
            const id = globalPortId(k);
            const isNeeded = results.includes(id) || read.has(id);
            if (isNeeded)
              expect(reused.has(id) || execute.has(operatorKey(operator)), `${id} is available`).to.equal(true);
            if (reused.has(id)) expect(of.stored.has(id) && isNeeded, `${id} is stored and needed`).to.equal(true);
          }
        for (const operator of plan.operators.filter((o) => execute.has(operatorKey(o))))
          expect(
            operator.outputs.some(({ key: k }) => {
              const id = globalPortId(k);
              return (results.includes(id) || read.has(id)) && !reused.has(id);
            }),
            `${operator.operatorId} runs for something`,
          ).to.equal(true);
        if (results.every((id) => of.stored.has(id))) expect(execute.size).to.equal(0);
        expect(decisions.map((d) => d.globalPortId)).to.deep.equal(
          plan.operators.flatMap((o) => o.outputs.map((p) => globalPortId(p.key))).filter((id) => of.stored.has(id)),
        );
        for (const decision of decisions) {
          const id = decision.globalPortId;
          expect(decision.reused).to.equal(reused.has(id));
          expect(decision.reason).to.match(/\.$/);
          const isNeeded = results.includes(id) || read.has(id);
          if (isNeeded && !results.includes(id))
            expect(decision.reused).to.equal(decision.readMs <= decision.recomputeMs);
          if (results.includes(id)) expect(decision.reused).to.equal(true);
        }
        expect(execute).to.deep.equal(neededOperators(plan, reused, new Set(results)));
      }),
      { numRuns: 500 },
    );
  });

  it("prices every port as the straightforward definition does, on trees", () => {
    const tree = fc.array(fc.nat(5), { minLength: 1, maxLength: 6 }).map((parents) => {
      // Operator i feeds parents[i] when that comes later: every output has one reader at most.
      const from = parents.map((): string[] => []);
      for (const [i, to] of parents.entries()) if (to > i && to < parents.length) from[to]!.push(`o${i}`);
      return planOf(Object.fromEntries(from.map((sources, i) => [`o${i}`, { from: sources }])));
    });
    fc.assert(
      fc.property(
        tree,
        fc.array(fc.nat(5_000), { minLength: 6, maxLength: 6 }),
        fc.array(fc.option(fc.nat(10 ** 9)), { minLength: 6, maxLength: 6 }),
        (plan, ms, sizes) => {
          const of: ReuseFacts = {
            stored: new Map(
              plan.operators.flatMap((o, i) =>
                sizes[i] == null ? [] : [[port(o.operatorId), stored(BigInt(sizes[i]))] as const],
              ),
            ),
            viewed: new Set(),
            seconds: new Map(plan.operators.map((o, i) => [operatorKey(o), ms[i]! / 1_000])),
          };
          const prices = estimatePrices(plan, of);
          const compute = (id: string): number =>
            of.seconds.get(key(id))! * 1_000 +
            plan.links.filter((l) => l.to.operatorId === id).reduce((all, l) => all + have(l.from.operatorId), 0);
          const have = (id: string): number =>
            Math.min(prices.readMs.get(port(id)) ?? Number.POSITIVE_INFINITY, compute(id));
          for (const { operatorId } of plan.operators)
            expect(prices.computeMs.get(key(operatorId))).to.be.closeTo(compute(operatorId), 1e-6);
        },
      ),
    );
  });

  it("takes one step per operator and link: a plan of 20,000 is planned at once", () => {
    const drafts: Record<string, Draft> = { o0: {} };
    for (let i = 1; i < 20_000; i++) drafts[`o${i}`] = { from: [`o${i - 1}`, `o${i >> 1}`] };
    const plan = planOf(drafts);
    const { execute } = planReuse(plan, facts({ stored: { [port("o10000")]: stored(1n, 10 ** 9) } }));
    expect(execute.size).to.be.greaterThan(9_000);
  }).timeout(20_000);
});

describe("neededOperators", () => {
  it("names what must run for the wanted ports, up to the ports that are there", () => {
    const wanted = new Set([port("last")]);
    const needed = (...sources: string[]) => [...neededOperators(CHAIN, new Set(sources), wanted)].sort();
    expect(needed()).to.deep.equal([key("last"), key("scan"), key("slow")]);
    expect(needed(port("slow"))).to.deep.equal([key("last")]);
    expect(needed(port("last"))).to.deep.equal([]);
    expect([...neededOperators(CHAIN, new Set(), new Set([port("scan")]))]).to.deep.equal([key("scan")]);
  });

  it("is the least set that gives every wanted port, on any plan", () => {
    fc.assert(
      fc.property(anyCaseOfNeed(), ({ plan, sources, wanted }) => {
        const needed = neededOperators(plan, sources, wanted);
        // By definition: an operator is needed when a port of it is missing that is wanted or feeds a needed one.
        const reference = new Set<string>();
        for (let before = -1; before !== reference.size; ) {
          before = reference.size;
          for (const o of plan.operators)
            for (const { key: k } of o.outputs) {
              const id = globalPortId(k);
              const feeds = plan.links.some((l) => globalPortId(l.from) === id && reference.has(operatorKey(l.to)));
              if (!sources.has(id) && (wanted.has(id) || feeds)) reference.add(operatorKey(o));
            }
        }
        expect(needed).to.deep.equal(reference);
      }),
    );
  });

  function anyCaseOfNeed() {
    return fc
      .array(fc.array(fc.nat(7), { maxLength: 3 }), { minLength: 1, maxLength: 8 })
      .map((from) =>
        planOf(
          Object.fromEntries(
            from.map((sources, i) => [`o${i}`, { from: sources.filter((s) => s < i).map((s) => `o${s}`) }]),
          ),
        ),
      )
      .chain((plan) => {
        const ports = plan.operators.map((o) => port(o.operatorId));
        const some = fc.subarray(ports).map((of) => new Set(of));
        return fc.record({ plan: fc.constant(plan), sources: some, wanted: some });
      });
  }
});

describe("sizes in reasons", () => {
  it("are shown in the largest unit that fits", () => {
    const shown = [0n, 999n, 1_000n, 3_100_000n, 9_960_000n, 999_600n, 5n * 10n ** 20n].map(sizeOf);
    expect(shown).to.deep.equal(["0 bytes", "999 bytes", "1.0 kB", "3.1 MB", "10 MB", "1.0 MB", "500 EB"]);
  });
});
