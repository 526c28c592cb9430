import { expect } from "chai";
import fc from "fast-check";
import { changeLines } from "../../src/cli/change-lines.js";
import { widthOf } from "../../src/cli/text.js";

describe("lines of a change", () => {
  it("are one when both values are short", () => {
    expect(changeLines("b.predicate", '"n > 1"', '"n > 2"')).to.deep.equal(['b.predicate: "n > 1" → "n > 2"']);
  });

  it("show the part that differs of long values", () => {
    const same = "x".repeat(100);
    expect(changeLines("f.code", `${same}OLD${same}`, `${same}NEW${same}`)).to.deep.equal([
      `f.code: …${"x".repeat(12)}OLD${"x".repeat(31)}…`,
      `  → …${"x".repeat(12)}NEW${"x".repeat(31)}…`,
    ]);
  });

  it("find that part when the other value alone was long, and cut at its beginning", () => {
    const text = "The quick brown fox jumps over the lazy dog and runs away from it.";
    const [was, is] = changeLines("f.code", `start ${text} OLD`, `…${text} NEW ${"z".repeat(150)}…`);
    expect(was).to.match(/^f\.code: ….* OLD$/);
    expect(is).to.match(/^ {2}→ ….* NEW z+…$/);
    const [again, before] = changeLines("f.code", `…${text} NEW ${"z".repeat(150)}…`, `start ${text} OLD`);
    expect(again).to.match(/^f\.code: ….* NEW z+…$/);
    expect(before).to.match(/^ {2}→ ….* OLD$/);
  });

  it("are never wider than a line may be, whatever the values are", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 200 });
    fc.assert(
      fc.property(text, text, (before, after) => {
        for (const line of changeLines("", before, after)) {
          expect(widthOf(line)).to.be.at.most(62);
          expect(() => encodeURIComponent(line), "no half of a character").not.to.throw();
        }
      }),
    );
  });
});
