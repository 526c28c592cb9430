import { expect } from "chai";
import fc from "fast-check";
import { type Difference, explainMiss } from "../../src/core/explain-miss.js";
import { FINGERPRINT_VERSION, type Fingerprint, fingerprints } from "../../src/core/fingerprint.js";
import { jsonDifferences, shown } from "../../src/core/json-differences.js";
import { globalPortId, type PhysicalOperator, type PhysicalPlan, type PortKey } from "../../src/core/plan.js";
import { leafChanges, soundPlanArbitrary } from "../support/fingerprint-plans.js";

type Plan = Pick<PhysicalPlan, "operators" | "links">;

const key = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});
const portOf = (operatorId: string): string => globalPortId(key(operatorId, 0, false));

interface Draft {
  type?: string;
  /** What feeds input ports 0, 1, …; several of one port as a list. */
  from?: (string | string[])[];
  columns?: string;
  uncacheable?: string;
  [property: string]: unknown;
}

function planOf(drafts: Record<string, Draft>): Plan {
  const operators = Object.entries(drafts).map(
    ([
      operatorId,
      { type = "filter", from = [], columns = "a", uncacheable = "", ...properties },
    ]): PhysicalOperator => ({
      operatorId,
      layer: "main",
      type,
      properties: properties as PhysicalOperator["properties"],
      displayName: "",
      inputs: from.map((_, i) => ({
        key: key(operatorId, i, true),
        schema: [],
        dependsOn: [],
        manyLinks: true,
        partition: { kind: "none" },
      })),
      outputs: [
        {
          key: key(operatorId, 0, false),
          schema: columns.split(" ").map((name) => ({ name, type: "long" })),
          blocking: false,
          mode: "set-delta",
          materialized: false,
          viewed: false,
          subdagHash: "",
          uncacheableReason: uncacheable,
        },
      ],
      implementation: { kind: "query", sql: "", furtherSql: [] },
    }),
  );
  const links = Object.entries(drafts).flatMap(([id, { from = [] }]) =>
    from.flatMap((sources, port) =>
      [sources].flat().map((source, n) => ({
        id: `${id}.${port}.${n}`,
        from: key(source, 0, false),
        to: key(id, port, true),
        materialized: false,
        mustMaterialize: false,
        why: "",
      })),
    ),
  );
  return { operators, links };
}

const jsonOf = (print: Fingerprint | undefined): string => (print && "json" in print ? print.json : "");
const byHash = (prints: ReadonlyMap<string, Fingerprint>): Map<string, string> =>
  new Map([...prints.values()].flatMap((print) => ("hash" in print ? [[print.hash, print.json]] : [])));

/** Why `port` of the plan `now` is not what it was in the plan `before`. */
function explain(before: Plan, now: Plan, port: string, forget: (operatorId: string) => boolean = () => false) {
  const earlier = fingerprints(before);
  for (const { operatorId } of before.operators) if (forget(operatorId)) earlier.delete(portOf(operatorId));
  const known = byHash(earlier);
  return explainMiss({ plan: now, fingerprints: fingerprints(now) }, port, {
    json: jsonOf(fingerprints(before).get(port)),
    jsonOf: (hash) => known.get(hash),
  });
}
const places = (differences: Difference[]) => differences.map((d) => `${d.operatorId}: ${d.path}`);

const CHAIN: Record<string, Draft> = {
  scan: { type: "scan", file: "x" },
  late: { from: ["scan"], predicate: "delay > 10" },
  sums: { type: "aggregate", from: ["late"], by: ["origin"] },
};

describe("explainMiss", () => {
  it("names the operator and the path of the only leaf that was changed, however far upstream", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, fc.nat(), fc.nat(), (before, pick, portPick) => {
        const changes = leafChanges(before);
        const { operatorId, path, change } = changes[pick % changes.length]!;
        const now = structuredClone(before);
        change(now);
        const [was, is] = [fingerprints(before), fingerprints(now)];
        const known = byHash(was);
        const ports = [...is.keys()].filter((id) => jsonOf(is.get(id)) !== jsonOf(was.get(id)));
        const port = ports[portPick % ports.length]!;
        const differences = explainMiss({ plan: now, fingerprints: is }, port, {
          json: jsonOf(was.get(port)),
          jsonOf: (hash) => known.get(hash),
        });
        expect(places(differences)).to.deep.equal([`${operatorId}: ${path}`]);
        expect(differences[0]!.before).not.to.equal(differences[0]!.after);
      }),
      { numRuns: 500 },
    );
  });

  it("says nothing when nothing differs", () => {
    expect(explain(planOf(CHAIN), planOf(CHAIN), portOf("sums"))).to.deep.equal([]);
  });

  it("shows both values as JSON", () => {
    const now = planOf({ ...CHAIN, late: { ...CHAIN.late, predicate: "delay > 11" } });
    expect(explain(planOf(CHAIN), now, portOf("sums"))).to.deep.equal([
      { operatorId: "late", path: "properties.predicate", before: '"delay > 10"', after: '"delay > 11"' },
    ]);
  });

  it("does not name columns that changed with settings or inputs, here and downstream", () => {
    const before = planOf(CHAIN);
    const now = planOf({
      scan: CHAIN.scan!,
      late: { ...CHAIN.late, predicate: "true", columns: "a b" },
      sums: { ...CHAIN.sums, columns: "a b" },
    });
    expect(places(explain(before, now, portOf("sums")))).to.deep.equal(["late: properties.predicate"]);
    const columns = planOf({ ...CHAIN, late: { ...CHAIN.late, columns: "a b" } });
    expect(explain(before, columns, portOf("sums"))).to.deep.equal([
      {
        operatorId: "late",
        path: "outputs.0",
        before: '[{"name":"a","type":"long"}]',
        after: '[{"name":"a","type":"long"},{"name":"b","type":"long"}]',
      },
    ]);
  });

  it("names every operator that differs, the nearest first", () => {
    const now = planOf({
      scan: { ...CHAIN.scan, file: "y" },
      late: { ...CHAIN.late, predicate: "true", more: 1 },
      sums: { ...CHAIN.sums, by: [] },
    });
    expect(places(explain(planOf(CHAIN), now, portOf("sums")))).to.deep.equal([
      "sums: properties.by",
      "late: properties.more",
      "late: properties.predicate",
      "scan: properties.file",
    ]);
  });

  it("names an input by itself when what it was is not known any more", () => {
    const now = planOf({ ...CHAIN, scan: { ...CHAIN.scan, file: "y" } });
    const [difference, ...more] = explain(planOf(CHAIN), now, portOf("sums"), (id) => id === "scan");
    expect(more).to.deep.equal([]);
    expect(difference).to.include({ operatorId: "late", path: "inputs.0.0" });
    expect(difference!.before).to.match(/^a result that is not known any more \([0-9a-f]{12}\)$/);
    expect(difference!.after).to.equal('{"operatorId":"scan","properties":{"file":"y"},"type":"scan"}');
  });

  it("compares each of many links with the one it is most like, in whatever order hashes come", () => {
    const branches = (changed: number): Record<string, Draft> => ({
      scan: { type: "scan", file: changed === 8 ? "y" : "x" },
      ...Object.fromEntries(
        Array.from({ length: 8 }, (_, i) => [`b${i}`, { from: ["scan"], n: i, v: i === changed ? "new" : "old" }]),
      ),
      all: { type: "union", from: [Array.from({ length: 8 }, (_, i) => `b${i}`)] },
    });
    for (let i = 0; i < 8; i++)
      expect(places(explain(planOf(branches(-1)), planOf(branches(i)), portOf("all")))).to.deep.equal([
        `b${i}: properties.v`,
      ]);
    expect(places(explain(planOf(branches(-1)), planOf(branches(8)), portOf("all")))).to.deep.equal([
      "scan: properties.file",
    ]);
  });

  it("tells branches apart that differ only further upstream", () => {
    const plan = (file: string): Record<string, Draft> => ({
      s: { type: "scan", file },
      x: { from: ["s"], which: "x" },
      y: { from: ["s"], which: "y" },
      fx: { from: ["x"] },
      fy: { from: ["y"] },
      all: { type: "union", from: [["fx", "fy"]] },
    });
    expect(places(explain(planOf(plan("1")), planOf(plan("2")), portOf("all")))).to.deep.equal(["s: properties.file"]);
  });

  it("names swapped, added and removed links where they end", () => {
    const join = (...from: (string | string[])[]): Plan =>
      planOf({ a: { type: "scan", file: "a" }, b: { type: "scan", file: "b" }, j: { type: "join", from } });
    const swapped = explain(join("a", "b"), join("b", "a"), portOf("j"));
    expect(places(swapped)).to.deep.equal(["j: inputs.0.0", "j: inputs.1.0"]);
    expect(swapped[0]!.after).to.equal('{"operatorId":"b","properties":{"file":"b"},"type":"scan"}');
    expect(swapped[0]!.before).to.equal('{"properties":{"file":"a"},"type":"scan"}');
    const added = explain(join(["a"]), join(["a", "b"]), portOf("j"));
    expect(added.map((d) => [d.operatorId, d.before, d.after !== ""])).to.deep.equal([["j", "", true]]);
    const removed = explain(join(["a", "b"]), join(["a"]), portOf("j"));
    expect(removed.map((d) => [d.operatorId, d.before !== "", d.after])).to.deep.equal([["j", true, ""]]);
    expect(places(explain(join("a"), join("a", "b"), portOf("j")))).to.deep.equal(["j: inputs.1"]);
  });

  it("names an operator that was put between two others, or taken out", () => {
    const longer = planOf({
      ...CHAIN,
      more: { from: ["late"], predicate: "true" },
      sums: { ...CHAIN.sums, from: ["more"] },
    });
    const [inserted] = explain(planOf(CHAIN), longer, portOf("sums"));
    expect(inserted).to.include({ operatorId: "sums", path: "inputs.0.0" });
    expect(inserted!.after).to.include('"operatorId":"more"');
    expect(places(explain(longer, planOf(CHAIN), portOf("sums")))).to.deep.equal(["sums: inputs.0.0"]);
  });

  it("follows an edit to results that other runs had already", () => {
    const now = planOf({ ...CHAIN, late: { ...CHAIN.late, predicate: "delay > 11" } });
    const known = new Map([...byHash(fingerprints(planOf(CHAIN))), ...byHash(fingerprints(now))]);
    const differences = explainMiss({ plan: now, fingerprints: fingerprints(now) }, portOf("sums"), {
      json: jsonOf(fingerprints(planOf(CHAIN)).get(portOf("sums"))),
      jsonOf: (hash) => known.get(hash),
    });
    expect(places(differences)).to.deep.equal(["late: properties.predicate"]);
  });

  it("reports another version of the form as such, and nothing else", () => {
    const plan = planOf(CHAIN);
    const old = '{"inputs":[["00"]],"outputs":[[]],"port":0,"properties":{"by":[]},"type":"other","version":1}';
    const differences = explainMiss({ plan, fingerprints: fingerprints(plan) }, portOf("sums"), {
      json: old,
      jsonOf: () => undefined,
    });
    expect(differences).to.deep.equal([
      { operatorId: "sums", path: "version", before: "1", after: String(FINGERPRINT_VERSION) },
    ]);
  });

  it("names the operators that leave a port to chance", () => {
    const chance = planOf({ ...CHAIN, late: { ...CHAIN.late, uncacheable: "random() differs from run to run." } });
    expect(explain(planOf(CHAIN), chance, portOf("sums"))).to.deep.equal([
      { operatorId: "late", path: "uncacheableReason", before: "", after: '"random() differs from run to run."' },
    ]);
  });

  it("refuses a port that the plan does not have", () => {
    expect(() => explain(planOf(CHAIN), planOf(CHAIN), "(other)")).to.throw(/no output port/);
  });

  it("follows a chain of 2,000 operators", () => {
    const chain = (file: string) =>
      planOf({
        o0: { type: "scan", file },
        ...Object.fromEntries(Array.from({ length: 1_999 }, (_, i) => [`o${i + 1}`, { from: [`o${i}`] }])),
      });
    expect(places(explain(chain("x"), chain("y"), portOf("o1999")))).to.deep.equal(["o0: properties.file"]);
  }).timeout(20_000);
});

describe("jsonDifferences", () => {
  it("finds each leaf that differs, and lists of other lengths as a whole", () => {
    const paths = jsonDifferences({ a: [1, { b: 2 }], c: [1], "d.e": "x" }, { a: [1, { b: 3 }], c: [1, 2], f: null });
    expect(paths).to.deep.equal([
      { path: "a.1.b", before: "2", after: "3" },
      { path: "c", before: "[1]", after: "[1,2]" },
      { path: '["d.e"]', before: '"x"', after: "" },
      { path: "f", before: "", after: "null" },
    ]);
  });

  it("cuts long texts to the part around the first difference, never through a character", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 300 }),
        fc.string({ unit: "grapheme", maxLength: 300 }),
        fc.string({ unit: "grapheme", maxLength: 300 }),
        (common, one, other) => {
          const { before, after } = shown(common + one, common + other);
          for (const text of [before, after]) {
            expect(text.length).to.be.at.most(200);
            expect(/[\ud800-\udfff]/u.test(text)).to.equal(false);
          }
          if (one !== other) expect(before).not.to.equal(after);
        },
      ),
    );
  });
});
