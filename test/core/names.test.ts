import { expect } from "chai";
import { closestName, didYouMean, editDistance, listNames } from "../../src/core/names.js";

describe("names", () => {
  it("count edits, two swapped neighbours as one", () => {
    expect(editDistance("", "abc")).to.equal(3);
    expect(editDistance("kitten", "sitting")).to.equal(3);
    expect(editDistance("dleay", "delay")).to.equal(1);
    expect(editDistance("same", "same")).to.equal(0);
  });

  it("find what was meant, whatever the case, and nothing when all are far", () => {
    expect(closestName("proprties", ["id", "type", "properties"])).to.equal("properties");
    expect(closestName("DELAI", ["distance", "delay"])).to.equal("delay");
    expect(closestName("salary", ["distance", "delay"])).to.equal(undefined);
    expect(closestName("x", ["a", "b"])).to.equal("a");
    expect(closestName("filter".repeat(100), ["filter".repeat(100)])).to.equal(undefined);
  });

  it("end a sentence with a question or a full stop", () => {
    expect(didYouMean("filtr", ["filter"])).to.equal('; did you mean "filter"?');
    expect(didYouMean("zebra", ["filter"])).to.equal(".");
  });

  it("cut a long list", () => {
    expect(listNames([])).to.equal("none");
    expect(listNames(Array.from({ length: 40 }, (_, i) => `c${i}`))).to.match(/c29 and 10 more$/);
  });
});
