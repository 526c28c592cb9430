import { expect } from "chai";
import fc from "fast-check";
import { RunState } from "../../src/contract/postern/v1/execution.js";
import { type EventKind, Outbox, type OutboxLimits } from "../../src/executor/stream/outbox.js";

const LIMITS: OutboxLimits = { capacity: 50, batchEvents: 7, batchBytes: 1_000_000 };
const outbox = (limits = LIMITS) => new Outbox({ attempt: 1, now: () => new Date(0), limits });
const event = (regionId: number): EventKind => ({
  $case: "regionState",
  value: { regionId, state: RunState.RUN_STATE_RUNNING },
});
const isPending = (promise: Promise<unknown>) =>
  Promise.race([promise.then(() => false), new Promise<boolean>((resolve) => setImmediate(() => resolve(true)))]);
const EVERYTHING = 1_000_000n;

describe("the outbox", () => {
  it("loses and doubles nothing, whatever order of acks, nacks, lost batches and reconnects", async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant("say" as const), count: fc.integer({ min: 1, max: 10 }) }) },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant("send" as const), arrives: fc.boolean(), acked: fc.boolean() }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("reconnect" as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const box = outbox({ ...LIMITS, capacity: 1_000 });
        const stored: number[] = []; // what the server has, by its rules S1
        let said = 0;
        const deliver = (batch: ReturnType<Outbox["nextBatch"]>, acked: boolean) => {
          const first = batch[0];
          if (!first) return;
          if (first.sequence > BigInt(stored.length) + 1n) return box.rewind(BigInt(stored.length) + 1n);
          for (const { sequence, kind } of batch)
            if (sequence === BigInt(stored.length) + 1n && kind?.$case === "regionState")
              stored.push(kind.value.regionId);
          if (acked) box.acknowledge(BigInt(stored.length));
        };
        for (const now of steps) {
          if (now.do === "say") for (let i = 0; i < now.count; i++) await box.append(event(++said));
          else if (now.do === "reconnect") box.resume(BigInt(stored.length));
          else {
            const batch = box.nextBatch(EVERYTHING);
            if (now.arrives) deliver(batch, now.acked);
          }
        }
        box.resume(BigInt(stored.length));
        for (let batch = box.nextBatch(EVERYTHING); batch.length > 0; batch = box.nextBatch(EVERYTHING))
          deliver(batch, true);
        expect(stored).to.deep.equal(Array.from({ length: said }, (_, i) => i + 1));
        expect(box.lastSequence).to.equal(BigInt(said));
        expect(box.nothingInFlight && box.allSent).to.equal(true);
      }),
    );
  });

  it("keeps an event until it is acknowledged, and sends it again after a reconnect", async () => {
    const box = outbox();
    for (let i = 1; i <= 3; i++) await box.append(event(i));
    expect(box.nextBatch(EVERYTHING).map((e) => e.sequence)).to.deep.equal([1n, 2n, 3n]);
    expect(box.nextBatch(EVERYTHING)).to.deep.equal([]);
    box.acknowledge(1n);
    box.resume(1n);
    expect(box.nextBatch(EVERYTHING).map((e) => e.sequence)).to.deep.equal([2n, 3n]);
  });

  it("sends nothing beyond the credit, and no batch above its limits", async () => {
    const box = outbox({ ...LIMITS, batchBytes: 40 });
    for (let i = 1; i <= 20; i++) await box.append(event(i));
    expect(box.nextBatch(0n)).to.deep.equal([]);
    const batch = box.nextBatch(2n);
    expect(batch.length).to.be.within(1, 2);
    const sizes: number[] = [];
    for (let next = box.nextBatch(EVERYTHING); next.length > 0; next = box.nextBatch(EVERYTHING))
      sizes.push(next.length);
    expect(sizes.length).to.be.greaterThan(5);
  });

  it("makes who appends wait while it is full, and refuses what may be dropped a little before", async () => {
    const box = outbox();
    let offered = 0;
    while (box.offer(event(1))) offered++;
    expect(offered).to.equal(45);
    for (let i = 0; i < 5; i++) await box.append(event(2));
    const waiting = box.append(event(3));
    expect(await isPending(waiting)).to.equal(true);
    box.nextBatch(EVERYTHING);
    box.acknowledge(1n);
    await waiting;
    expect(box.lastSequence).to.equal(51n);
  });

  it("tells who waits that it was closed", async () => {
    const box = outbox();
    for (let i = 0; i < 50; i++) await box.append(event(1));
    const waiting = box.append(event(2));
    box.close(new Error("over"));
    expect(await waiting.catch((error: Error) => error.message)).to.equal("over");
    expect(box.offer(event(3))).to.equal(false);
  });

  it("goes on after the number an earlier process had stored", async () => {
    const box = outbox();
    box.begin(41n);
    await box.append(event(1));
    expect(box.nextBatch(EVERYTHING)[0]?.sequence).to.equal(42n);
  });

  it("refuses a server that contradicts what was said", async () => {
    const box = outbox();
    for (let i = 1; i <= 3; i++) await box.append(event(i));
    box.nextBatch(2n);
    expect(() => box.acknowledge(3n)).to.throw(/only 2 were sent/);
    box.acknowledge(2n);
    expect(() => box.rewind(2n)).to.throw(/asked for event 2/);
    expect(() => box.resume(1n)).to.throw(/2 are acknowledged/);
    expect(() => box.resume(9n)).to.throw(/3 said/);
  });
});
