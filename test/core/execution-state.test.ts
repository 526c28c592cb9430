import { expect } from "chai";
import fc from "fast-check";
import {
  EXECUTION_STATES,
  isTerminal,
  LIVE_STATES,
  mayMove,
  sourcesOf,
  TERMINAL_STATES,
} from "../../src/core/execution-state.js";

const anyState = fc.constantFrom(...EXECUTION_STATES);

describe("execution states", () => {
  it("lets nothing leave a terminal state", () => {
    for (const from of TERMINAL_STATES) for (const to of EXECUTION_STATES) expect(mayMove(from, to)).to.equal(false);
  });

  it("agrees with the sources SQL uses, move by move", () => {
    fc.assert(fc.property(anyState, anyState, (from, to) => sourcesOf(to).includes(from) === mayMove(from, to)));
  });

  it("lets every state that is not terminal end FAILED and KILLED", () => {
    for (const from of EXECUTION_STATES.filter((s) => !isTerminal(s))) {
      expect(mayMove(from, "FAILED"), from).to.equal(true);
      expect(mayMove(from, "KILLED"), from).to.equal(true);
    }
  });

  it("reaches every state from QUEUED", () => {
    const reached = new Set(["QUEUED"]);
    for (let before = 0; before < reached.size; ) {
      before = reached.size;
      for (const to of EXECUTION_STATES) if (sourcesOf(to).some((from) => reached.has(from))) reached.add(to);
    }
    expect([...reached]).to.have.members([...EXECUTION_STATES]);
  });

  it("lets an executor refuse to pause and to go on", () => {
    expect(mayMove("PAUSING", "RUNNING")).to.equal(true);
    expect(mayMove("RESUMING", "PAUSED")).to.equal(true);
  });

  it("takes the end of what was asked to pause or to go on and had ended already", () => {
    for (const from of ["PAUSING", "RESUMING"] as const)
      for (const to of ["COMPLETING", "COMPLETED"] as const) expect(mayMove(from, to), `${from} ${to}`).to.equal(true);
    for (const to of ["COMPLETING", "COMPLETED"] as const) expect(mayMove("PAUSED", to), to).to.equal(false);
  });

  it("pauses only what runs, and resumes only what pauses", () => {
    expect(sourcesOf("PAUSING")).to.deep.equal(["RUNNING"]);
    expect(sourcesOf("RESUMING")).to.deep.equal(["PAUSED"]);
  });

  it("lets an executor report in every state but the queue and the end", () => {
    expect(LIVE_STATES).to.have.members(["PREPARED", "RUNNING", "PAUSING", "PAUSED", "RESUMING", "COMPLETING"]);
  });

  it("returns any held execution to the queue when it is lost", () => {
    for (const from of LIVE_STATES) expect(mayMove(from, "QUEUED"), from).to.equal(true);
  });
});
