// ExplainMiss: what the cache has of a plan, and what differs where it has nothing.
import { expect } from "chai";
import { ExplainMissRequest } from "../../src/contract/postern/v1/cache.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { fingerprints } from "../../src/core/fingerprint.js";
import { callUnary } from "../../src/rpc/channel.js";
import { storedPlan } from "../../src/server/executions/execution-plan.js";
import { clearCache, hashOf, outputPort, storeEntries } from "../support/cache-entries.js";
import { rejection } from "../support/rejection.js";
import { FRUIT_PLAN, PROJECT, startTestServer, type TestServer, WORKFLOW } from "../support/test-server.js";

describe("ExplainMiss", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());
  afterEach(() => clearCache(server.db));

  const putWorkflow = (workflowId: string, plan: object = FRUIT_PLAN) =>
    callUnary(
      server.client.workflows,
      "putWorkflow",
      { requestId: "", projectId: PROJECT, workflowId, plan: LogicalPlan.fromJSON(plan), comment: "" },
      { token: server.owner },
    );

  const explain = (more: Partial<ExplainMissRequest> = {}, token = server.owner) =>
    callUnary(
      server.client.caches,
      "explainMiss",
      ExplainMissRequest.fromPartial({ projectId: PROJECT, workflowId: WORKFLOW, ...more }),
      { token },
    );
  const withPredicate = (predicate: string, heavy = "heavy") => {
    const [fruit, , order] = FRUIT_PLAN.operators;
    return LogicalPlan.fromJSON({
      operators: [fruit, { id: heavy, type: "filter", properties: { predicate } }, order],
      links: [
        { from: "fruit", to: heavy },
        { from: heavy, to: "order" },
      ],
    });
  };
  /** Stores entries for ports of the present version, as runs of it do. */
  async function remember(...operators: string[]): Promise<string> {
    const { spec } = await server.prepare();
    const explained = await explain({ globalPortIds: operators.map((operator) => outputPort(operator)) });
    const prints = await fingerprintsOf(spec!.executionId);
    await storeEntries(
      server.db,
      ...explained.ports.map((port) => ({
        port: port.globalPortId,
        hash: port.subdagHash,
        fingerprint: prints.get(port.subdagHash)!,
        source: spec!.executionId,
        type: spec!.plan!.operators.find((o) => port.globalPortId.includes(`=${o.operatorId},`))!.type,
      })),
    );
    return spec!.executionId;
  }
  async function fingerprintsOf(executionId: string): Promise<Map<string, string>> {
    const prints = fingerprints(await storedPlan(server.db, executionId));
    return new Map([...prints.values()].flatMap((print) => ("hash" in print ? [[print.hash, print.json]] : [])));
  }

  it("says of ports that are there that they are, and with which entry", async () => {
    await remember("order");
    const { ports } = await explain();
    const order = ports.find((port) => port.globalPortId === outputPort("order"))!;
    expect(order).to.include({ hit: true, uncacheableReason: "" });
    expect(order.nearest).to.include({ subdagHash: order.subdagHash, workflowId: WORKFLOW });
    expect(order.differences).to.deep.equal([]);
  });

  it("says nothing is near where nothing was ever remembered", async () => {
    const { ports } = await explain();
    expect(ports.map((port) => port.globalPortId)).to.include(outputPort("order"));
    for (const port of ports) expect(port).to.include({ hit: false, nearest: undefined });
  });

  it("explains, where none are named, the ports a run would write and those that were ever remembered", async () => {
    const asked = async (more: Partial<ExplainMissRequest> = {}) =>
      (await explain(more)).ports.map((port) => [port.globalPortId, port.hit]);
    expect(await asked()).to.deep.equal([[outputPort("order"), false]]);
    await remember("heavy", "order");
    expect(await asked()).to.deep.equal([
      [outputPort("heavy"), true],
      [outputPort("order"), true],
    ]);
    expect(await asked({ plan: withPredicate("weight > 200") })).to.deep.equal([
      [outputPort("heavy"), false],
      [outputPort("order"), false],
    ]);
  });

  it("names the operator, the path and both values of an edit upstream, from the plan of the earlier execution", async () => {
    await remember("order");
    const { ports } = await explain({ plan: withPredicate("weight > 200"), globalPortIds: [outputPort("order")] });
    expect(ports[0]).to.include({ hit: false });
    expect(ports[0]!.nearest!.globalPortId).to.equal(outputPort("order"));
    expect(ports[0]!.differences).to.deep.equal([
      { operatorId: "heavy", path: "properties.predicate", before: '"weight > 100"', after: '"weight > 200"' },
    ]);
  });

  it("knows it also from other entries, once that execution has been deleted", async () => {
    const executionId = await remember("heavy", "order");
    await server.db.query("delete from execution where id = :executionId", { executionId });
    const { ports } = await explain({ plan: withPredicate("weight > 200"), globalPortIds: [outputPort("order")] });
    expect(ports[0]!.differences.map((d) => [d.operatorId, d.path])).to.deep.equal([["heavy", "properties.predicate"]]);
  });

  it("names the input where nothing behind it is known any more", async () => {
    const executionId = await remember("order");
    await server.db.query("delete from execution where id = :executionId", { executionId });
    const { ports } = await explain({ plan: withPredicate("weight > 200"), globalPortIds: [outputPort("order")] });
    expect(ports[0]!.differences.map((d) => [d.operatorId, d.path])).to.deep.equal([["order", "inputs.0.0"]]);
  });

  it("compares a port nobody remembers with the workflow's most similar one of the same operator type", async () => {
    await remember("heavy");
    await storeEntries(server.db, {
      port: outputPort("less"),
      hash: hashOf(1),
      type: "filter",
      fingerprint: '{"inputs":{},"type":"filter"}',
    });
    const plan = withPredicate("weight > 200", "weighty");
    const { ports } = await explain({ plan, globalPortIds: [outputPort("weighty")] });
    expect(ports[0]!.nearest!.globalPortId).to.equal(outputPort("heavy"));
    expect(ports[0]!.differences.map((d) => [d.operatorId, d.path])).to.deep.equal([
      ["weighty", "properties.predicate"],
    ]);
  });

  it("finds a re-drawn operator's entry under another id, and a foreign one only where the project shares", async () => {
    await remember("order");
    await putWorkflow("copy");
    const order = async (more: Partial<ExplainMissRequest>) =>
      (await explain({ globalPortIds: [outputPort("order")], ...more })).ports[0]!;
    const redrawn = await order({ plan: withPredicate("weight > 100", "redrawn") });
    expect(redrawn.hit).to.equal(true);
    expect((await order({ workflowId: "copy" })).hit).to.equal(false);
    await server.db.query("update cache_entry set shareable = true");
    await server.db.query("insert into cache_policy values (:p, 0, 0, true)", { p: PROJECT });
    const foreign = await order({ workflowId: "copy" });
    expect(foreign.hit).to.equal(true);
    expect(foreign.nearest, "of another workflow nothing but the result").to.include({
      workflowId: "",
      tupleCount: 1n,
    });
  });

  it("tells why a port can never be there", async () => {
    const { ports } = await explain({ plan: withPredicate("random() > 0.5"), globalPortIds: [outputPort("order")] });
    expect(ports[0]).to.include({ hit: false, subdagHash: "" });
    expect(ports[0]!.uncacheableReason).not.to.equal("");
  });

  it("explains a stored version, the newest when none is named", async () => {
    await putWorkflow("versions");
    const heavier = LogicalPlan.toJSON(withPredicate("weight > 300")) as object;
    await putWorkflow("versions", heavier);
    const of = { workflowId: "versions", globalPortIds: [outputPort("order")] };
    const [first, second, newest] = await Promise.all([1, 2, 0].map((version) => explain({ ...of, version })));
    expect(newest).to.deep.equal(second);
    expect(first!.ports[0]!.subdagHash).not.to.equal(second!.ports[0]!.subdagHash);
    expect(await rejection(explain({ ...of, version: 3 }))).to.include({ code: "not-found" });
  });

  it("refuses plans that cannot run, ports a plan does not have, and who may not read the workflow", async () => {
    const refused: Partial<ExplainMissRequest>[] = [
      { plan: withPredicate("colour = 'red'") },
      { plan: withPredicate("weight > 1"), version: 1 },
      { globalPortIds: ["order"] },
      { globalPortIds: [outputPort("nowhere")] },
      { globalPortIds: [outputPort("order", 9)] },
      { version: -1 },
      { workflowId: "" },
    ];
    for (const request of refused)
      expect(await rejection(explain(request)), JSON.stringify(request).slice(0, 80)).to.include({ code: "invalid" });
    expect(await rejection(explain({}, await server.userToken("stranger")))).to.include({ code: "not-found" });
    expect(await rejection(explain({ workflowId: "nowhere" }))).to.include({ code: "not-found" });
  });
});
