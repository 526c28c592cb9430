import { expect } from "chai";
import { atMost, judge, ratioAtLeast } from "../../bench/figure.js";
import { median, percentile } from "../../bench/statistics.js";

describe("A figure", () => {
  const measured = { figure: "f", value: 60, unit: "events/s", yardstick: 100 };

  it("holds when it reaches its share of the yardstick, and not below", () => {
    expect(judge({ ...measured, bound: ratioAtLeast(0.6) })).to.include({
      ratio: 0.6,
      bound: "ratio >= 0.6",
      holds: true,
    });
    expect(judge({ ...measured, value: 59.9, bound: ratioAtLeast(0.6) }).holds).to.equal(false);
  });

  it("holds when it stays within its own limit, and not above", () => {
    expect(judge({ ...measured, bound: atMost(60) })).to.include({ bound: "value <= 60", holds: true });
    expect(judge({ ...measured, value: 60.1, bound: atMost(60) }).holds).to.equal(false);
  });

  it("does not hold when nothing was measured", () => {
    expect(judge({ ...measured, value: Number.NaN, bound: atMost(60) }).holds).to.equal(false);
  });
});

describe("Statistics of a bench", () => {
  it("take the middle value, or the mean of the middle two", () => {
    expect(median([5, 1, 3])).to.equal(3);
    expect(median([4, 1, 3, 2])).to.equal(2.5);
  });

  it("take the value that a share of the values do not exceed", () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(percentile(values, 0.5)).to.equal(50);
    expect(percentile(values, 0.99)).to.equal(99);
    expect(percentile([7], 0.99)).to.equal(7);
  });
});
