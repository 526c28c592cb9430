import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { PhysicalPlan as WirePhysicalPlan } from "../../src/contract/postern/v1/plan.js";
import { canonicalJson, sha256Hex } from "../../src/core/canonical-json.js";
import { FINGERPRINT_VERSION, type Fingerprint, fingerprints, withFingerprints } from "../../src/core/fingerprint.js";
import { globalPortId, type PhysicalOperator, type PhysicalPlan, type PortKey } from "../../src/core/plan.js";
import { physicalPlanFromWire, planDigest } from "../../src/rpc/plan-codec.js";
import { columns } from "../support/plans.js";

const VECTORS = new URL("../vectors/", import.meta.url);

interface Vector {
  about: string;
  plan: unknown;
  planDigest: string;
  fingerprints: Record<string, Fingerprint>;
}
const vectors = readdirSync(VECTORS)
  .filter((name) => name.startsWith("fingerprint-"))
  .map((name) => [name, JSON.parse(readFileSync(new URL(name, VECTORS), "utf8")) as Vector] as const);

const planIn = (vector: Vector): PhysicalPlan =>
  physicalPlanFromWire(WirePhysicalPlan.fromJSON(structuredClone(vector.plan)));
/** A fresh copy of the plan of one vector, to be changed at will. */
const planNamed = (part: string): PhysicalPlan => planIn(vectors.find(([name]) => name.includes(part))![1]);
const hashes = (plan: PhysicalPlan): string[] =>
  [...fingerprints(plan).values()].map((print) => ("hash" in print ? print.hash : "")).sort();
const operator = (plan: PhysicalPlan, id: string): PhysicalOperator => plan.operators.find((o) => o.operatorId === id)!;
const hashOf = (plan: PhysicalPlan, id: string): string => {
  const print = fingerprints(plan).get(globalPortId(operator(plan, id).outputs[0]!.key))!;
  return "hash" in print ? print.hash : "";
};

/** The plan with every operator called otherwise. */
function renamed(plan: PhysicalPlan): PhysicalPlan {
  const key = <K extends { operatorId: string }>(k: K): K => ({ ...k, operatorId: `other-${k.operatorId}` });
  return {
    ...plan,
    operators: plan.operators.map((o) => ({
      ...key(o),
      displayName: "Something else",
      inputs: o.inputs.map((p) => ({ ...p, key: key(p.key), dependsOn: p.dependsOn.map(key) })),
      outputs: o.outputs.map((p) => ({ ...p, key: key(p.key) })),
    })),
    links: plan.links.map((l) => ({ ...l, id: `x${l.id}`, from: key(l.from), to: key(l.to) })),
  };
}

describe("fingerprints", () => {
  for (const [name, vector] of vectors)
    it(`are those of ${name}: ${vector.about}`, () => {
      const plan = planIn(vector);
      expect(Object.fromEntries(fingerprints(plan))).to.deep.equal(vector.fingerprints);
      expect(planDigest(plan)).to.equal(vector.planDigest);
    });

  it("are canonical JSON and its SHA-256, with the version of the form", () => {
    for (const [, vector] of vectors)
      for (const print of Object.values(vector.fingerprints)) {
        if (!("hash" in print)) continue;
        expect(canonicalJson(JSON.parse(print.json))).to.equal(print.json);
        expect(sha256Hex(print.json)).to.equal(print.hash);
        expect(JSON.parse(print.json).version).to.equal(FINGERPRINT_VERSION);
      }
  });

  it("are equal and differ in the vectors as their descriptions say", () => {
    const of = (part: string, id: string, index = 0): string => {
      const [, vector] = vectors.find(([name]) => name === `fingerprint-${part}.json`)!;
      const ports = planIn(vector).operators.flatMap((o) => (o.operatorId === id ? o.outputs : []));
      const print = vector.fingerprints[globalPortId(ports[index]!.key)]!;
      return "hash" in print ? print.hash : expect.fail(`${part} ${id} has no hash`);
    };
    const all = (part: string, ...ids: string[]) => new Set(ids.map((id) => of(part, id)));
    for (const part of ["numbers", "unicode"]) expect(of(part, "one"), part).to.equal(of(part, "two"));
    expect(of("many-links", "forth")).to.equal(of("many-links", "back"));
    expect(all("many-links", "forth", "twice", "once", "none")).to.have.length(4);
    expect(of("ports-and-layers", "wide")).to.equal(of("ports-and-layers", "wide-again"));
    expect(new Set([0, 1, 2].map((port) => of("ports-and-layers", "split", port)))).to.have.length(3);
    expect(of("ports-and-layers", "j", 0)).not.to.equal(of("ports-and-layers", "j", 1));
    expect(of("joins", "straight")).to.equal(of("joins", "copy"));
    expect(all("joins", "straight", "swapped", "self")).to.have.length(3);
    expect(of("functions", "plain")).to.equal(of("functions", "restated"));
    expect(all("functions", "plain", "keeps", "environment", "entry", "python", "setting")).to.have.length(6);
    expect(of("scans", "t")).to.equal(of("scans", "moved"));
    const scans = ["t", "content", "fewer", "sampled", "csv", "headed", "unknown", "json"];
    expect(all("scans", ...scans)).to.have.length(scans.length);
  });

  it("do not depend on ids, names for people, links' ids or marks", () => {
    const plan = planNamed("join-aggregate");
    expect(hashes(renamed(plan))).to.deep.equal(hashes(plan));
    const marked = planNamed("join-aggregate");
    for (const port of marked.operators.flatMap((o) => o.outputs)) {
      port.viewed = !port.viewed;
      port.materialized = !port.materialized;
      port.subdagHash = "";
    }
    expect(hashes(marked)).to.deep.equal(hashes(plan));
  });

  it("do not depend on the order of operators, links or properties", () => {
    const plan = planNamed("join-aggregate");
    const [first, second, ...rest] = plan.operators;
    const turned: PhysicalPlan = {
      ...plan,
      operators: [second!, first!, ...rest].map((o) => ({
        ...o,
        properties: Object.fromEntries(Object.entries(o.properties).reverse()),
      })),
      links: [...plan.links].reverse(),
    };
    expect(hashes(turned)).to.deep.equal(hashes(plan));
  });

  it("do not depend on where a dataset lies or what it is called, nor on the SQL", () => {
    const plan = planNamed("scan-filter");
    const moved = planNamed("scan-filter");
    for (const { implementation, properties } of moved.operators) {
      if (implementation.kind === "scan") {
        Object.assign(implementation.scan, { uri: "file:///elsewhere", datasetName: "x", datasetId: "y", version: 9 });
        properties.dataset = "x@9";
      }
      if (implementation.kind === "query") implementation.sql += " ";
    }
    expect(hashes(moved)).to.deep.equal(hashes(plan));
  });

  const changes: Record<string, [vector: string, changed: string, change: (plan: PhysicalPlan) => void]> = {
    "the operator's type": ["scan-filter", "late", (p) => (operator(p, "late").type = "other")],
    "a property": ["scan-filter", "late", (p) => (operator(p, "late").properties.predicate = "delay > 11")],
    "a default that was made explicit otherwise": [
      "join-aggregate",
      "top",
      (p) => (operator(p, "top").properties.offset = 1),
    ],
    "the name of an output column": [
      "join-aggregate",
      "states",
      (p) => (operator(p, "states").outputs[0]!.schema[1]!.name = "other"),
    ],
    "the type of an output column": [
      "join-aggregate",
      "states",
      (p) => (operator(p, "states").outputs[0]!.schema[1]!.type = "long"),
    ],
    "the number of the output port": ["join-aggregate", "top", (p) => (operator(p, "top").outputs[0]!.key.portId = 1)],
    "the content of a dataset": ["scan-filter", "flights", (p) => (scanOf(p).contentHash = "other")],
    "the format of a file": ["scan-filter", "flights", (p) => (scanOf(p).format.kind = "csv")],
    "the delimiter of a file": ["scan-filter", "flights", (p) => (scanOf(p).format.delimiter = ";")],
    "whether a file has a header": ["scan-filter", "flights", (p) => (scanOf(p).format.header = false)],
    "the schema of a file": ["scan-filter", "flights", (p) => (scanOf(p).fileSchema[4]!.type = "any")],
    "the columns a scan reads": [
      "scan-filter",
      "flights",
      (p) => (operator(p, "flights").outputs[0]!.schema = columns("delay: long")),
    ],
    "user code": ["user-function", "py", (p) => (codeOf(p).code += " ")],
    "the language of user code": ["user-function", "py", (p) => (codeOf(p).language = "javascript")],
    "the environment of user code": ["user-function", "py", (p) => (codeOf(p).environment.python = "3.12")],
    "whether user code keeps its input": ["user-function", "py", (p) => (codeOf(p).retainInputColumns = false)],
    "which input feeds which port": [
      "join-aggregate",
      "both",
      (p) => {
        const [left, right] = p.links.filter((l) => l.to.operatorId === "both");
        [left!.from, right!.from] = [right!.from, left!.from];
      },
    ],
  };
  for (const [what, [vector, changed, change]] of Object.entries(changes))
    it(`change with ${what}, here and downstream, and nowhere else`, () => {
      const [before, after] = [planNamed(vector), planNamed(vector)];
      change(after);
      const downstream = new Set([changed]);
      for (const { operatorId } of before.operators)
        if (before.links.some((l) => l.to.operatorId === operatorId && downstream.has(l.from.operatorId)))
          downstream.add(operatorId);
      // A port under another number has no reader any more.
      if (what.startsWith("the number")) downstream.clear();
      if (what.startsWith("the number")) downstream.add(changed);
      for (const { operatorId } of before.operators) {
        const [was, is] = [hashOf(before, operatorId), hashOf(after, operatorId)];
        if (was === "") continue;
        expect(was === is, operatorId).to.equal(!downstream.has(operatorId));
      }
    });

  it("of links into one port do not depend on their order", () => {
    const port = (operatorId: string, input: boolean): PortKey => ({
      operatorId,
      layer: "main",
      portId: 0,
      internal: false,
      input,
    });
    const source = (id: string, limit: number): PhysicalOperator => ({
      ...planNamed("scan-filter").operators[1]!,
      operatorId: id,
      properties: { limit },
      inputs: [],
      outputs: [{ ...planNamed("scan-filter").operators[1]!.outputs[0]!, key: port(id, false) }],
    });
    const many: PhysicalOperator = {
      ...source("many", 0),
      inputs: [{ key: port("many", true), schema: [], dependsOn: [], manyLinks: true, partition: { kind: "none" } }],
    };
    const plan = (...order: string[]): PhysicalPlan => ({
      format: 1,
      operators: [source("a", 1), source("b", 2), many],
      links: order.map((id) => ({
        id,
        from: port(id, false),
        to: port("many", true),
        materialized: false,
        mustMaterialize: false,
        why: "",
      })),
      regions: [],
    });
    expect(hashOf(plan("a", "b"), "many")).to.equal(hashOf(plan("b", "a"), "many"));
    expect(hashOf(plan("a", "a"), "many")).not.to.equal(hashOf(plan("a", "b"), "many"));
  });

  it("give a reason to every port behind one that has one, and the same again from the finished plan", () => {
    const plan = planNamed("user-function");
    const reason = operator(plan, "some").outputs[0]!.uncacheableReason;
    expect(reason).not.to.equal("");
    const finished = withFingerprints(plan);
    expect(operator(finished, "some").outputs[0]!.uncacheableReason).to.equal(reason);
    expect(operator(finished, "once").outputs[0]!.uncacheableReason).to.equal(
      `It depends on "some", which may differ from run to run. ${reason}`,
    );
    expect(withFingerprints(finished)).to.deep.equal(finished);
  });

  it("refuse links that form a cycle or come from nowhere", () => {
    const cycle = planNamed("scan-filter");
    const late = operator(cycle, "late");
    for (const link of cycle.links) if (link.to.operatorId === "late") link.from = late.outputs[0]!.key;
    expect(() => fingerprints(cycle)).to.throw(/cycle/);
    const nowhere = planNamed("scan-filter");
    nowhere.links[0]!.from = { ...nowhere.links[0]!.from, portId: 5 };
    expect(() => fingerprints(nowhere)).to.throw(/"late" comes from an output port that the plan does not have/);
  });

  it("cost one step per operator and link, so a long chain is no burden", () => {
    const [, filter] = planNamed("scan-filter").operators;
    const ids = Array.from({ length: 2_000 }, (_, i) => `o${i}`);
    const port = (operatorId: string, input: boolean): PortKey => ({ ...filter!.outputs[0]!.key, operatorId, input });
    const chain: PhysicalPlan = {
      format: 1,
      operators: ids.map((id) => ({
        ...filter!,
        operatorId: id,
        inputs: [{ ...filter!.inputs[0]!, key: port(id, true) }],
        outputs: [{ ...filter!.outputs[0]!, key: port(id, false) }],
      })),
      links: ids.slice(1).map((id, i) => ({
        id,
        from: port(ids[i]!, false),
        to: port(id, true),
        materialized: false,
        mustMaterialize: false,
        why: "",
      })),
      regions: [],
    };
    const prints = [...fingerprints(chain).values()];
    expect(new Set(hashes(chain)).size).to.equal(2_000);
    // The text does not grow along the chain: each carries its input's hash, not its input.
    expect(
      "json" in prints[1]! && "json" in prints[1_999]! && prints[1_999].json.length - prints[1].json.length,
    ).to.equal(0);
  });
});

function scanOf(plan: PhysicalPlan) {
  for (const { implementation } of plan.operators) if (implementation.kind === "scan") return implementation.scan;
  throw new Error("no scan");
}
function codeOf(plan: PhysicalPlan) {
  for (const { implementation } of plan.operators)
    if (implementation.kind === "user-function") return implementation.userFunction;
  throw new Error("no user function");
}
