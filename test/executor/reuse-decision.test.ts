import { expect } from "chai";
import { reuseDecision } from "../../src/executor/run/reuse-decision.js";

describe("what the manifest says of a port", () => {
  const broken = "Its stored rows are gone or damaged.";
  const outcome = { isWritten: true, estimate: undefined };

  it("says once what both its way and its end say", () => {
    const answer = { kind: "compute", reason: broken } as const;
    expect(reuseDecision("a", { reason: broken }, { ...outcome, answer }).reason).to.equal(broken);
  });

  it("says both when they differ", () => {
    const answer = { kind: "reserved", reservation: 1n } as const;
    expect(reuseDecision("a", { reason: broken }, { ...outcome, answer }).reason).to.equal(
      `${broken} It was computed, and offered to the cache.`,
    );
  });
});
