import { expect } from "chai";
import fc from "fast-check";
import { LIVE_STATES, mayMove } from "../../src/core/execution-state.js";
import { afterLostLease, longestWatchPause } from "../../src/core/lease.js";

const held = fc.record({
  state: fc.constantFrom(...LIVE_STATES),
  queued: fc.boolean(),
  attached: fc.boolean(),
  attempt: fc.integer({ min: 1, max: 5 }),
  maxAttempts: fc.integer({ min: 1, max: 5 }),
  cancelRequested: fc.boolean(),
});

describe("longestWatchPause", () => {
  it("notices every outage that outlasts a third of the lease, unless looks are rarer than that", () => {
    expect(longestWatchPause({ everyMs: 1_667, leaseMs: 15_000 })).to.equal(5_001);
    expect(longestWatchPause({ everyMs: 50, leaseMs: 15_000 })).to.equal(5_000);
  });

  it("never takes one look that comes late for an outage", () => {
    const times = fc.record({ everyMs: fc.integer({ min: 1 }), leaseMs: fc.integer({ min: 1 }) });
    fc.assert(fc.property(times, (given) => longestWatchPause(given) >= 3 * given.everyMs));
  });
});

describe("afterLostLease", () => {
  it("only makes moves the state machine has", () => {
    fc.assert(fc.property(held, (execution) => mayMove(execution.state, afterLostLease(execution).to)));
  });

  it("never starts more attempts than allowed", () => {
    fc.assert(
      fc.property(held, (execution) => {
        const after = afterLostLease(execution);
        return after.to !== "QUEUED" || after.attempt <= Math.max(execution.attempt, execution.maxAttempts);
      }),
    );
  });

  const lost = {
    state: "RUNNING",
    queued: true,
    attached: true,
    attempt: 1,
    maxAttempts: 3,
    cancelRequested: false,
  } as const;

  it("tries again, and counts the lost attempt", () => {
    expect(afterLostLease(lost)).to.include({ to: "QUEUED", attempt: 2 });
  });

  it("fails after the last attempt", () => {
    expect(afterLostLease({ ...lost, attempt: 3 }).to).to.equal("FAILED");
  });

  it("charges no attempt for an assignment nobody took up", () => {
    expect(afterLostLease({ ...lost, state: "PREPARED", attached: false })).to.include({ to: "QUEUED", attempt: 1 });
  });

  it("kills what somebody asked to be stopped", () => {
    expect(afterLostLease({ ...lost, cancelRequested: true }).to).to.equal("KILLED");
  });

  it("fails what was handed to a caller's own executor, which nobody else can take over", () => {
    expect(afterLostLease({ ...lost, queued: false }).to).to.equal("FAILED");
  });
});
