import { expect } from "chai";
import { bytes, count, counted, duration, printable, truncate, widthOf } from "../../src/cli/text.js";

describe("text", () => {
  it("counts wide characters as two columns and combining marks as none", () => {
    expect([widthOf("abc"), widthOf("日本"), widthOf("é"), widthOf("🛬")]).to.deep.equal([3, 4, 1, 2]);
  });

  it("never cuts a wide character in half", () => {
    expect(truncate("日本語", 4)).to.equal("日…");
    expect(truncate("日本語", 6)).to.equal("日本語");
  });

  it("writes figures for people", () => {
    expect([count(0), count(1234567n), count(-1234)]).to.deep.equal(["0", "1,234,567", "-1,234"]);
    expect([counted(1, "row"), counted(2n, "row")]).to.deep.equal(["1 row", "2 rows"]);
    expect([bytes(1023), bytes(1536n), bytes(3 * 1024 ** 4)]).to.deep.equal(["1023 B", "1.5 KiB", "3.0 TiB"]);
    expect([duration(420), duration(59_960), duration(65_000), duration(7_380_000)]).to.deep.equal([
      "0.4 s",
      "1 m 00 s",
      "1 m 05 s",
      "2 h 03 m",
    ]);
  });

  it("shows what could turn the reading direction around", () => {
    expect(printable("a\u202eb\u0007")).to.equal("a\\u202eb\\u0007");
  });
});
