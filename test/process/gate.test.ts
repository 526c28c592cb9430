import { expect } from "chai";
import fc from "fast-check";
import { createGate } from "../../src/process/gate.js";
import { rejection } from "../support/rejection.js";

describe("A gate", () => {
  it("never lets more through than its width, loses nobody, and keeps the order of arrival", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ turns: fc.nat(3), fails: fc.boolean() }), { maxLength: 20 }),
        async (width, works) => {
          const gate = createGate(width);
          const started: number[] = [];
          let inside = 0;
          let most = 0;
          const ends = await Promise.allSettled(
            works.map(({ turns, fails }, i) =>
              gate(async () => {
                started.push(i);
                most = Math.max(most, ++inside);
                for (let turn = 0; turn < turns; turn++) await Promise.resolve();
                inside--;
                if (fails) throw new Error("no");
              }),
            ),
          );
          expect(most).to.be.at.most(width);
          expect(started).to.deep.equal(works.map((_, i) => i));
          expect(ends.map((end) => end.status === "rejected")).to.deep.equal(works.map(({ fails }) => fails));
        },
      ),
    );
  });

  it("lets whoever gives up waiting go, and keeps no place for it", async () => {
    const gate = createGate(1);
    let open = () => {};
    const first = gate(() => new Promise<void>((resolve) => (open = resolve)));
    const leaving = new AbortController();
    const second = rejection(gate(() => Promise.reject(new Error("must not run")), leaving.signal));
    const third = gate(() => Promise.resolve("third"));
    leaving.abort(new Error("gone"));
    expect((await second).message).to.equal("gone");
    open();
    await first;
    expect(await third).to.equal("third");
  });
});
