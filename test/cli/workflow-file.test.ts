import { expect } from "chai";
import { meansFile, parseWorkflow } from "../../src/cli/workflow-file.js";

describe("workflow file", () => {
  it("reads a plan with its properties as they are", () => {
    const text = '{"operators":[{"id":"a","type":"scan","properties":{"dataset":"x","n":[1,null]}}],"links":[]}';
    const { operators } = parseWorkflow(text, "f.json");
    expect(operators[0]).to.include({ id: "a", type: "scan", disabled: false, viewResult: false });
    expect(operators[0]!.properties).to.deep.equal({ dataset: "x", n: [1, null] });
  });

  it("refuses a misspelt field instead of dropping it", () => {
    const text = '{"operators":[{"id":"a","type":"scan","viewResults":true}]}';
    expect(() => parseWorkflow(text, "f.json")).to.throw(/f\.json is no workflow: operators\.0: .*viewResults/);
  });

  it("names the field that has the wrong type", () => {
    const text = '{"operators":[],"links":[{"from":"a","fromPort":"0","to":"b"}]}';
    expect(() => parseWorkflow(text, "f.json")).to.throw(/links\.0\.fromPort: .*expected/);
  });

  it("takes a path or a .json name for a file, and a bare name for a stored workflow", () => {
    expect(["a.json", "./a", "dir/a.json"].map(meansFile)).to.deep.equal([true, true, true]);
    expect(["a", "flights-delays", "a.b"].map(meansFile)).to.deep.equal([false, false, false]);
  });
});
