import { expect } from "chai";
import fc from "fast-check";
import { renderRecords } from "../../src/cli/records.js";
import { widthOf } from "../../src/cli/text.js";

describe("records", () => {
  it("show a line per column, and long values whole, on lines of their own", () => {
    const rows = [
      ["Oslo", "a city by the fjord that has a long description"],
      ["Rio", ""],
    ];
    const text = renderRecords({ head: ["name", "description"], rows, firstRow: 11n }, { width: 40 });
    expect(text.split("\n")).to.deep.equal([
      "─ row 11 ─",
      "name         Oslo",
      "description  a city by the fjord that",
      "             has a long description",
      "─ row 12 ─",
      "name         Rio",
      "description  ",
    ]);
  });

  it("lose no character and keep to the width, whatever the values hold", () => {
    const value = fc.string({ unit: "grapheme-ascii", maxLength: 200 });
    fc.assert(
      fc.property(value, fc.integer({ min: 40, max: 90 }), (text, width) => {
        const lines = renderRecords({ head: ["column"], rows: [[text]], firstRow: 1n }, { width })
          .split("\n")
          .slice(1);
        for (const line of lines) expect(widthOf(line)).to.be.at.most(width);
        const shown = lines.map((line) => line.slice("column  ".length)).join("");
        expect(shown.replaceAll(" ", "")).to.equal(text.replaceAll(" ", ""));
      }),
    );
  });

  it("shows control characters instead of obeying them", () => {
    expect(renderRecords({ head: ["a"], rows: [["\x1b[2J\n"]], firstRow: 1n }, { width: 80 })).to.contain(
      "\\u001b[2J\\n",
    );
  });
});
