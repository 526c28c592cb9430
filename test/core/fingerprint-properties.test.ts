import { expect } from "chai";
import fc from "fast-check";
import { PhysicalPlan as WirePhysicalPlan } from "../../src/contract/postern/v1/plan.js";
import { canonicalJson } from "../../src/core/canonical-json.js";
import { fingerprints, withFingerprints } from "../../src/core/fingerprint.js";
import { globalPortId, type Json, operatorKey, type PhysicalPlan, type PortKey } from "../../src/core/plan.js";
import { physicalPlanFromWire, physicalPlanToWire } from "../../src/rpc/plan-codec.js";
import { leafChanges, soundPlanArbitrary } from "../support/fingerprint-plans.js";

/** Hash of every output port, in the order of the plan: also of a plan whose operators are called otherwise. */
function hashes({ operators, links }: PhysicalPlan): string[] {
  const prints = fingerprints({ operators, links });
  return operators.flatMap((o) =>
    o.outputs.map(({ key }) => {
      const print = prints.get(globalPortId(key))!;
      return "hash" in print ? print.hash : "";
    }),
  );
}

const hashOf = (plan: PhysicalPlan, port: PortKey): string => {
  const print = fingerprints(plan).get(globalPortId(port))!;
  return "hash" in print ? print.hash : "";
};

/** Operators by key that read the given one, on whatever way, and itself. */
function downstream({ links }: PhysicalPlan, key: string): Set<string> {
  const reached = new Set([key]);
  for (let before = 0; before !== reached.size; ) {
    before = reached.size;
    for (const { from, to } of links) if (reached.has(operatorKey(from))) reached.add(operatorKey(to));
  }
  return reached;
}

/** The same plan under other ids, marks and names, its lists turned and its objects built in another order. */
function redrawn(plan: PhysicalPlan): PhysicalPlan {
  const key = <K extends { operatorId: string }>(k: K): K => ({ ...k, operatorId: `x-${k.operatorId}` });
  const turned = (value: Json): Json => {
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map(turned);
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([name, member]) => [name, turned(member)]),
    );
  };
  return {
    format: plan.format,
    operators: plan.operators.map((operator) => {
      const { implementation } = operator;
      const moved = { datasetId: "other", datasetName: "other", version: 99, uri: "s3://elsewhere", byteCount: 9n };
      return {
        ...key(operator),
        displayName: "Something else",
        properties: {
          ...(turned(operator.properties) as { [name: string]: Json }),
          ...(implementation.kind === "scan" && { dataset: "other@9" }),
        },
        inputs: operator.inputs.map((p) => ({ ...p, key: key(p.key), dependsOn: [] })).reverse(),
        outputs: operator.outputs.map((p) => ({
          ...p,
          key: key(p.key),
          schema: p.schema.map(({ name, type }) => ({ type, name })),
          viewed: true,
          materialized: true,
          subdagHash: "old",
          blocking: true,
        })),
        implementation:
          implementation.kind === "scan"
            ? { kind: "scan", scan: { ...implementation.scan, ...moved } }
            : implementation.kind === "query"
              ? { kind: "query", sql: "SELECT 42", furtherSql: [] }
              : {
                  kind: "user-function",
                  userFunction: turned(implementation.userFunction as unknown as Json) as never,
                },
      };
    }),
    links: plan.links
      .map((l, i) => ({ ...l, id: `link ${i}`, from: key(l.from), to: key(l.to), materialized: true, why: "Because." }))
      .reverse(),
    regions: [{ id: 1, level: 0, operators: [], cached: true }],
  };
}

describe("fingerprints, of any plan", () => {
  it("depend neither on ids, names, places, marks and SQL, nor on the order of links, ports and members", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, (plan) => {
        expect(hashes(redrawn(plan))).to.deep.equal(hashes(plan));
      }),
    );
  });

  it("do not depend on the order of operators", () => {
    fc.assert(
      fc.property(
        soundPlanArbitrary.chain((plan) =>
          fc.tuple(
            fc.constant(plan),
            fc.shuffledSubarray(plan.operators, { minLength: plan.operators.length, maxLength: plan.operators.length }),
          ),
        ),
        ([plan, operators]) => {
          expect(hashes({ ...plan, operators }).sort()).to.deep.equal(hashes(plan).sort());
        },
      ),
    );
  });

  it("survive the wire, in bytes and in JSON", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, (plan) => {
        const wire = physicalPlanToWire(plan);
        const bytes = WirePhysicalPlan.decode(WirePhysicalPlan.encode(wire).finish());
        expect(hashes(physicalPlanFromWire(bytes))).to.deep.equal(hashes(plan));
        const json = WirePhysicalPlan.fromJSON(JSON.parse(JSON.stringify(WirePhysicalPlan.toJSON(wire))));
        expect(hashes(physicalPlanFromWire(json))).to.deep.equal(hashes(plan));
      }),
    );
  });

  it("are canonical JSON of what they say, and name every output port apart", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, (plan) => {
        const prints = fingerprints(plan);
        for (const print of prints.values())
          if ("json" in print) expect(canonicalJson(JSON.parse(print.json))).to.equal(print.json);
        // Every operator of these plans has a setting of its own.
        expect(new Set(hashes(plan)).size).to.equal(prints.size);
        expect(withFingerprints(withFingerprints(plan))).to.deep.equal(withFingerprints(plan));
      }),
    );
  });

  it("change with every single setting, column, piece of code and part of a dataset: here, downstream, and nowhere else", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, (plan) => {
        const before = hashes(plan);
        for (const { operatorId, path, change } of leafChanges(plan)) {
          const after = structuredClone(plan);
          change(after);
          const changed = downstream(plan, operatorKey(plan.operators.find((o) => o.operatorId === operatorId)!));
          const now = hashes(after);
          const owners = plan.operators.flatMap((o) => o.outputs.map(() => operatorKey(o)));
          for (const [i, owner] of owners.entries())
            expect(now[i] !== before[i], `${operatorId} ${path} at ${owner}`).to.equal(changed.has(owner));
        }
      }),
      { numRuns: 60 },
    );
  }).timeout(60_000);

  it("change with the order of columns", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, fc.nat(), (plan, pick) => {
        const after = structuredClone(plan);
        const operator = after.operators[pick % after.operators.length]!;
        const { schema, key } = operator.outputs[0]!;
        fc.pre(canonicalJson(schema[0]) !== canonicalJson(schema.at(-1)));
        schema.reverse();
        expect(hashOf(after, key)).not.to.equal(hashOf(plan, key));
      }),
    );
  });

  it("change with each link: led from elsewhere, to another port, taken away or doubled", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, fc.nat(), fc.nat(), (plan, pickLink, pickSource) => {
        fc.pre(plan.links.length > 0);
        const at = pickLink % plan.links.length;
        const { from, to } = plan.links[at]!;
        const port = plan.operators.find((o) => operatorKey(o) === operatorKey(to))!.outputs[0]!.key;
        const before = hashOf(plan, port);
        const withLinks = (links: PhysicalPlan["links"]) => hashOf({ ...plan, links }, port);
        expect(withLinks(plan.links.filter((_, i) => i !== at)), "taken away").not.to.equal(before);
        expect(withLinks([...plan.links, { ...plan.links[at]!, id: "again" }]), "doubled").not.to.equal(before);
        const earlier = plan.operators.slice(
          0,
          plan.operators.findIndex((o) => operatorKey(o) === operatorKey(to)),
        );
        const source = earlier[pickSource % earlier.length]!.outputs[0]!.key;
        const led = plan.links.map((l, i) => (i === at ? { ...l, from: source } : l));
        expect(withLinks(led) === before, "led from elsewhere").to.equal(globalPortId(source) === globalPortId(from));
      }),
    );
  });

  it("change with the number, the kind and the layer of a port", () => {
    fc.assert(
      fc.property(soundPlanArbitrary, fc.nat(), (plan, pick) => {
        const last = plan.operators.length - 1;
        const before = hashes(plan).at(-1)!;
        const changed = (
          change: (operator: PhysicalPlan["operators"][number], after: PhysicalPlan) => void,
        ): string => {
          const after = structuredClone(plan);
          change(after.operators[last]!, after);
          return hashes(after).at(-1)!;
        };
        expect(
          changed((o) => (o.outputs.at(-1)!.key.portId += 5)),
          "number",
        ).not.to.equal(before);
        expect(changed((o) => (o.outputs.at(-1)!.key.internal = !o.outputs.at(-1)!.key.internal))).not.to.equal(before);
        const layer = changed((o, after) => {
          const own = operatorKey(o);
          for (const { to } of after.links) if (operatorKey(to) === own) to.layer = "other";
          for (const { key } of [...o.inputs, ...o.outputs]) key.layer = "other";
          o.layer = "other";
        });
        expect(layer, "layer").not.to.equal(before);
        const { inputs } = plan.operators[last]!;
        if (inputs.length === 0) return;
        const port = inputs[pick % inputs.length]!.key.portId;
        const renumbered = changed((o, after) => {
          const own = operatorKey(o);
          for (const key of [...o.inputs.map((p) => p.key), ...after.links.map((l) => l.to)])
            if (operatorKey(key) === own && key.portId === port) key.portId += 20;
        });
        expect(renumbered, "number of an input").not.to.equal(before);
      }),
    );
  });
});
