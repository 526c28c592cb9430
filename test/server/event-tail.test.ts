import { expect } from "chai";
import fc from "fast-check";
import { createTailMemory, EventTail } from "../../src/server/executions/event-tail.js";

const logged = (number: bigint, bytes = 10) => ({ number, attempt: 1, sequence: 0n, body: new Uint8Array(bytes) });
const range = (from: bigint, to: bigint, bytes?: number) =>
  Array.from({ length: Number(to - from) + 1 }, (_, i) => logged(from + BigInt(i), bytes));

describe("EventTail", () => {
  it("holds what follows its beginning, and nothing before", () => {
    const tail = new EventTail("x", 5n);
    expect(tail).to.include({ first: 6n, last: 5n });
    expect(tail.append(range(6n, 8n))).to.equal(true);
    expect(tail).to.include({ first: 6n, last: 8n });
    expect([5n, 6n, 8n, 9n].map((n) => tail.frame(n) !== undefined)).to.deep.equal([false, true, true, false]);
  });

  it("passes over what it knows and takes the rest", () => {
    const tail = new EventTail("x", 0n);
    tail.append(range(1n, 4n));
    const held = tail.frame(3n);
    expect(tail.append(range(2n, 6n))).to.equal(true);
    expect(tail.last).to.equal(6n);
    expect(tail.frame(3n)).to.equal(held);
  });

  it("refuses what does not continue it", () => {
    const tail = new EventTail("x", 0n);
    expect(tail.append(range(2n, 3n))).to.equal(false);
    expect(tail.append([logged(1n), logged(3n)])).to.equal(false);
    expect(tail).to.include({ first: 1n, last: 1n });
  });

  it("gives up the oldest events beyond a mebibyte", () => {
    const tail = new EventTail("x", 0n);
    for (let n = 1n; n <= 4_000n; n++) tail.append([logged(n, 1_000)]);
    expect(tail.last).to.equal(4_000n);
    expect(tail.bytes).to.be.within(900_000, 1024 * 1024);
    for (let n = tail.first; n <= tail.last; n++) expect(tail.frame(n), String(n)).to.exist;
    expect(tail.frame(tail.first - 1n)).to.equal(undefined);
  });

  it("knows exactly the numbers from first to last, whatever happens to it", () => {
    const step = fc.oneof(
      fc.record({ grow: fc.integer({ min: 1, max: 20 }), bytes: fc.constantFrom(10, 60_000) }),
      fc.constantFrom("forget" as const, "skip" as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const tail = new EventTail("x", 0n);
        for (const one of steps) {
          if (one === "forget") tail.forget();
          else if (one === "skip") tail.skipTo(tail.last + 3n);
          else tail.append(range(tail.last + 1n, tail.last + BigInt(one.grow), one.bytes));
          for (let n = 1n; n <= tail.last + 2n; n++)
            expect(tail.frame(n) !== undefined).to.equal(n >= tail.first && n <= tail.last);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe("the memory of all tails", () => {
  it("stays within its limit: the tail that has been silent for longest gives up what it holds", () => {
    const memory = createTailMemory(30_000);
    const tails = Array.from({ length: 4 }, (_, i) => new EventTail(String(i), 0n));
    for (const tail of tails.slice(0, 3)) {
      tail.append([logged(1n, 9_000)]);
      memory.grown(tail);
    }
    tails[0]!.append([logged(2n, 100)]);
    memory.grown(tails[0]!);
    tails[3]!.append([logged(1n, 9_000)]);
    memory.grown(tails[3]!);
    expect(tails.map(({ bytes }) => bytes > 0)).to.deep.equal([true, false, true, true]);
    expect(tails[1]).to.include({ first: 2n, last: 1n });
    expect(memory.bytes).to.equal(tails.reduce((sum, { bytes }) => sum + bytes, 0));
  });

  it("counts all that the frames keep alive, however the logs take turns", () => {
    const memory = createTailMemory(400_000);
    const tails = Array.from({ length: 50 }, (_, i) => new EventTail(String(i), 0n));
    let turn = 1;
    for (let n = 0; n < 5_000; n++) {
      turn = (turn * 16_807) % 2_147_483_647;
      const tail = tails[turn % 10 < 9 ? turn % 3 : turn % 50]!;
      tail.append([logged(tail.last + 1n, 100)]);
      memory.grown(tail);
    }
    const kept = new Set<ArrayBufferLike>();
    for (const tail of tails) for (let n = tail.first; n <= tail.last; n++) kept.add(tail.frame(n)!.buffer);
    const bytes = [...kept].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(bytes).to.be.greaterThan(0);
    expect(bytes).to.be.lessThan(memory.bytes);
    expect(memory.bytes).to.be.at.most(400_000);
  });

  it("forgets a tail that nobody watches any more", () => {
    const memory = createTailMemory(30_000);
    const tail = new EventTail("x", 0n);
    tail.append([logged(1n)]);
    memory.grown(tail);
    memory.released(tail);
    memory.released(tail);
    expect(memory.bytes).to.equal(0);
  });
});
