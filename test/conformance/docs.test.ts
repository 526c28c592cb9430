import { readFileSync } from "node:fs";
import { expect } from "chai";

describe("docs/conformance.md", () => {
  it("shows the Python executor that CI plays the scenarios against", () => {
    expect(readFileSync("docs/conformance.md", "utf8")).to.include(readFileSync("test/interop/executor.py", "utf8"));
  });
});
