import { expect } from "chai";
import { PortReuse } from "../../src/contract/postern/v1/execution.js";
import { reuseOf } from "../../src/server/executions/record-reuse.js";
import type { ReuseFacts } from "../../src/server/repositories/execution-reuse.js";
import { outputPort } from "../support/cached-ports.js";
import { columns, planOf, query } from "../support/physical-plans.js";

const N = columns("n:long");
const step = (id: string) => query(id, "filter", [N, N], "SELECT * FROM input0", N);
const plan = planOf(["a", "b", "c", "d"].map(step), ["a>b", "a>c", "b>d", "c>d:1"], ["0: a", "1: b", "1: c", "2: d"]);

const object = (operatorId: string, computeMs = 100) => ({
  globalPortId: outputPort(operatorId),
  uri: `file:///${operatorId}`,
  rowCount: 7,
  byteCount: 50,
  computeMs,
  sourceExecutionId: "earlier",
});
const decision = (operatorId: string, more: Partial<PortReuse> = {}) =>
  PortReuse.fromPartial({ globalPortId: outputPort(operatorId), reason: "Because.", ...more });
const fromCache = (operatorId: string) => ({ operatorId, layer: "main", state: "COMPLETED_FROM_CACHE" as const });
const reuse = (facts: Partial<ReuseFacts & { reported: PortReuse[] }>) =>
  reuseOf(plan, { decisions: [], operators: [], reused: [], reported: [], ...facts });

describe("the record of what an execution reused", () => {
  it("keeps one decision per port, the latest, in plan order", () => {
    const { decisions } = reuse({
      decisions: [decision("d"), decision("b", { readMs: 1 })].map((one) => PortReuse.toJSON(one)),
      reported: [decision("c"), decision("b", { readMs: 2 })],
    });
    expect(
      decisions.map((one) => PortReuse.fromJSON(one)).map(({ globalPortId, readMs }) => [globalPortId, readMs]),
    ).to.deep.equal([
      [outputPort("b"), 2],
      [outputPort("c"), 0],
      [outputPort("d"), 0],
    ]);
  });

  it("counts as looked up what is reused and what the plan writes, not what passes within a region", () => {
    const drafts = ["a", "b", "c"].map((id) => ({ ...step(id), materialized: id === "b" }));
    const some = planOf(drafts, ["a>b", "b>c"], ["0: a b c"]);
    const decisions = ["a", "b", "c"].map((id) => PortReuse.toJSON(decision(id)));
    const { portsLookedUp } = reuseOf(some, { decisions, operators: [], reused: [object("c")], reported: [] });
    expect(portsLookedUp, "b is written, c reused").to.equal(2);
  });

  it("believes the registry, not the report, about what was reused", () => {
    const { decisions, portsReused } = reuse({
      reused: [object("b")],
      reported: [
        decision("b", { reused: false }),
        decision("c", { reused: true, tupleCount: 9n, byteCount: 9n, sourceExecutionId: "mine" }),
      ],
    });
    const [b, c] = decisions.map((one) => PortReuse.fromJSON(one));
    expect(b).to.deep.include({ reused: true, tupleCount: 7n, byteCount: 50n, sourceExecutionId: "earlier" });
    expect(c).to.deep.include({ reused: false, tupleCount: 0n, byteCount: 0n, sourceExecutionId: "" });
    expect(portsReused).to.equal(1);
  });

  it("counts regions whose every operator came from the cache", () => {
    const operators = [fromCache("a"), fromCache("b"), { ...fromCache("c"), state: "COMPLETED" as const }];
    expect(reuse({ operators })).to.include({ regions: 4, regionsReused: 2 });
  });

  it("counts time once where one reused port was made from another, and bytes of all", () => {
    const all = reuse({ reused: [object("a", 40), object("b", 90), object("c", 70)] });
    expect([all.savedMs, all.savedBytes]).to.deep.equal([160n, 150n]);
    expect(reuse({ reused: [object("a", 40), object("d", 500)] }).savedMs).to.equal(500n);
  });

  it("stores sums however large counts others claimed are", () => {
    const boast = { ...object("b", 2 ** 63), byteCount: 2 ** 63 };
    const all = reuse({ reused: [boast, { ...boast, globalPortId: outputPort("c") }] });
    expect([all.savedMs, all.savedBytes].every((sum) => sum > 0n && sum < 2n ** 63n)).to.equal(true);
  });

  it("takes odd estimates for none, and cuts long reasons", () => {
    const reported = [decision("a", { readMs: Number.NaN, recomputeMs: -1, reason: "x".repeat(10_000) })];
    const [stored] = reuse({ reported }).decisions.map((one) => PortReuse.fromJSON(one));
    expect([stored!.readMs, stored!.recomputeMs, stored!.reason.length]).to.deep.equal([0, 0, 500]);
  });

  it("refuses ports the plan does not have", () => {
    expect(() => reuse({ reported: [decision("x")] })).to.throw(/no output port .*report only ports of the plan/);
  });
});
