import { expect } from "chai";
import { type ExecutionRecord, judge, type StoredEvent } from "./comparison.js";

const CHECKSUM = 7;

/** One event of the server, then `count` of the executor, then the end. */
function wellDone(count = 3): ExecutionRecord {
  const stored: StoredEvent[] = [
    { number: 1, attempt: 1, sequence: 0, n: 0, checksum: 1 },
    ...Array.from({ length: count }, (_, i) => ({
      number: i + 2,
      attempt: 1,
      sequence: i + 1,
      n: i + 1,
      checksum: CHECKSUM + i,
    })),
    { number: count + 2, attempt: 1, sequence: 0, n: 0, checksum: 2 },
  ];
  const begun = { kind: "begun" as const, executionId: "e", attempt: 1, epoch: "1", executorId: "x", pid: 1, at: 0 };
  return {
    executionId: "e",
    state: "COMPLETED",
    attempt: 1,
    lastEventNumber: stored.length,
    stored,
    journals: [
      {
        begun,
        events: stored.filter(({ n }) => n > 0).map(({ n, checksum }) => ({ n, checksum })),
        end: { kind: "finished", at: 1 },
      },
    ],
    acknowledged: new Map([[1, BigInt(count)]]),
    endConfirmed: true,
    watched: [{ name: "w", after: 0, events: stored.map(({ n: _, ...event }) => event) }],
  };
}

const counts = (record: ExecutionRecord) => {
  const { missing, duplicated, outOfOrder } = judge(record);
  return { missing, duplicated, outOfOrder };
};

describe("the judgement of a chaos run", () => {
  it("finds nothing where everything said is stored and was seen, once and in order", () => {
    expect(counts(wellDone())).to.deep.equal({ missing: 0, duplicated: 0, outOfOrder: 0 });
    expect(judge(wellDone())).to.include({ sent: 3, stored: 3, watched: 5, ended: true });
  });

  it("misses an event of the completed attempt, and tells a watcher's hole apart", () => {
    const record = wellDone();
    record.journals[0]!.events.push({ n: 4, checksum: 99 });
    expect(counts(record)).to.deep.equal({ missing: 1, duplicated: 0, outOfOrder: 0 });
    const unseen = wellDone();
    unseen.watched[0]!.events.splice(2, 2);
    expect(counts(unseen)).to.deep.equal({ missing: 2, duplicated: 0, outOfOrder: 0 });
  });

  it("asks of a lost attempt only what was acknowledged", () => {
    const record = wellDone();
    record.state = "QUEUED";
    record.endConfirmed = false;
    record.stored.pop();
    record.watched = [];
    record.lastEventNumber = record.stored.length;
    record.journals[0]!.events.push({ n: 4, checksum: 99 });
    expect(counts(record)).to.deep.equal({ missing: 0, duplicated: 0, outOfOrder: 0 });
    record.acknowledged = new Map([[1, 5n]]);
    expect(counts(record)).to.deep.equal({ missing: 2, duplicated: 0, outOfOrder: 0 });
  });

  it("misses an end that was confirmed and is not stored", () => {
    const record = wellDone();
    record.state = "RUNNING";
    expect(counts(record).missing).to.equal(1);
  });

  it("counts an event that is stored again under another number", () => {
    const record = wellDone();
    record.stored[4] = { number: 5, attempt: 1, sequence: 4, n: 3, checksum: CHECKSUM + 2 };
    record.stored.push({ number: 6, attempt: 1, sequence: 0, n: 0, checksum: 2 });
    record.lastEventNumber = 6;
    record.watched = [];
    expect(counts(record)).to.deep.equal({ missing: 0, duplicated: 1, outOfOrder: 0 });
  });

  it("does not take an attempt that speaks after the next one began", () => {
    const record = wellDone();
    record.stored[1]!.attempt = 2;
    expect(counts(record).outOfOrder).to.be.greaterThan(0);
  });

  it("does not take holes in the numbers, what nobody said, and a watcher's order of its own", () => {
    const hole = wellDone();
    hole.stored.splice(2, 1);
    expect(counts(hole).outOfOrder).to.be.greaterThan(0);
    const invented = wellDone();
    invented.stored[2]!.checksum = 1_000;
    expect(counts(invented).outOfOrder).to.be.greaterThan(0);
    const shuffled = wellDone();
    shuffled.watched[0]!.events.reverse();
    expect(counts(shuffled).outOfOrder).to.be.greaterThan(0);
    const twice = wellDone();
    twice.watched[0]!.events.push(twice.watched[0]!.events[0]!);
    expect(counts(twice).duplicated).to.equal(1);
  });
});
