import { expect } from "chai";
import fc from "fast-check";
import { renderTable } from "../../src/cli/table.js";
import { widthOf } from "../../src/cli/text.js";

describe("table", () => {
  it("lines up numbers at their right end and text at its left", () => {
    const text = renderTable(
      {
        head: ["name", "rows"],
        right: [false, true],
        rows: [
          ["a", "1"],
          ["long name", "1,204"],
        ],
      },
      { width: Number.POSITIVE_INFINITY },
    );
    expect(text.split("\n")).to.deep.equal([
      "name        rows",
      "─────────  ─────",
      "a              1",
      "long name  1,204",
    ]);
  });

  it("cuts the widest cells, with an ellipsis, until the table fits", () => {
    const rows = [["id", "x".repeat(200), "y".repeat(40)]];
    const lines = renderTable({ head: ["a", "b", "c"], rows }, { width: 60 }).split("\n");
    for (const line of lines) expect(widthOf(line)).to.be.at.most(60);
    expect(lines[2]).to.match(/^id {2}x+… {2}y+…?$/);
  });

  it("cuts text before numbers", () => {
    const content = { head: ["city", "n"], right: [false, true], rows: [["x".repeat(40), "1234567890.25"]] };
    expect(renderTable(content, { width: 30 })).to.contain("… 1234567890.25".replace(" ", "  "));
  });

  it("never exceeds the width it is given, whatever the cells hold", () => {
    const cell = fc.string({ unit: "grapheme", maxLength: 60 });
    const rows = fc.array(fc.tuple(cell, cell, cell), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(rows, fc.integer({ min: 30, max: 120 }), (some, width) => {
        const text = renderTable({ head: ["a", "b", "c"], rows: some }, { width });
        expect(text.split("\n")).to.have.length(some.length + 2);
        for (const line of text.split("\n")) expect(widthOf(line)).to.be.at.most(width);
      }),
    );
  });

  it("shows control characters instead of obeying them", () => {
    const text = renderTable({ head: ["a"], rows: [["\x1b[2Jgone\nnext"]] }, { width: 80 });
    expect(text).to.contain("\\u001b[2Jgone\\nnext");
  });
});
