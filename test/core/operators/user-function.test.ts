import { expect } from "chai";
import { OPERATOR_TYPES } from "../../../src/core/operators/catalogue.js";
import type { OperatorInstance } from "../../../src/core/operators/operator.js";
import type { Json, Properties, Schema } from "../../../src/core/plan.js";
import { columns } from "../../support/plans.js";

function read(type: string, properties: Properties): OperatorInstance {
  const settings = OPERATOR_TYPES.get(type)!.read(properties);
  if ("findings" in settings) throw new Error(JSON.stringify(settings.findings));
  return settings.instance;
}
const python = (properties: Properties) => read("python-function", properties);
function findings(properties: Properties, type = "python-function"): string[] {
  const settings = OPERATOR_TYPES.get(type)!.read(properties);
  return "findings" in settings ? settings.findings.map((f) => `${f.property}: ${f.message}`) : [];
}
function formOf(code: string, more: Properties = {}, type = "python-function") {
  const { body } = read(type, { code, outputColumns: [{ name: "x", type: "long" }], ...more });
  if (body.kind !== "user-function") throw new Error("It is no function.");
  const { call, entryPoint, retainInputColumns } = body.userFunction;
  return { call, entryPoint, retainInputColumns };
}
function schemasOf({ body }: OperatorInstance, ...inputs: Schema[]): string[] {
  if (body.kind !== "user-function") throw new Error("It is no function.");
  return body.outputSchemas(inputs).map((schema) => schema.map(({ name, type }) => `${name}:${type}`).join(" "));
}

describe("user functions in plans", () => {
  it("tell by their names how they are called", () => {
    const forms = {
      "def process_tuple(t): pass": ["tuple", "process_tuple"],
      "process_batch = lambda frame: frame": ["batch", "process_batch"],
      "def process_table(t): pass": ["table", "process_table"],
      "def produce():\n  yield {'x': 1}": ["source", "produce"],
      "from pytexera import *\nclass ProcessTupleOperator(UDFOperatorV2):\n  def process_tuple(self, t, port): yield t":
        ["tuple", "ProcessTupleOperator"],
      "class Mine(pytexera.UDFTableOperator, Other):\n  def process_table(self, t, port): yield t": ["table", "Mine"],
      "class ProcessBatchOperator(UDFBatchOperator): pass": ["batch", "ProcessBatchOperator"],
      "class GenerateOperator(UDFSourceOperator):\n  def produce(self): yield": ["source", "GenerateOperator"],
      "# class A(UDFTableOperator):\ndef process_tuple(t): pass": ["tuple", "process_tuple"],
    };
    for (const [code, [call, entryPoint]] of Object.entries(forms))
      expect(formOf(code), code).to.deep.equal({ call, entryPoint, retainInputColumns: call === "tuple" });
    const javascript = formOf("const processTable = (rows) => rows", {}, "javascript-function");
    expect(javascript).to.deep.equal({ call: "table", entryPoint: "processTable", retainInputColumns: false });
  });

  it("are called as their author says where the code defines several ways", () => {
    const code = "def process_tuple(t): pass\ndef process_table(t): pass";
    expect(formOf(code).call).to.equal("tuple");
    expect(formOf(code, { call: "table" })).to.include({ call: "table", entryPoint: "process_table" });
    expect(findings({ code, call: "batch" })).to.deep.equal([
      'code: The code defines no function process_batch; it is called once per batch of rows, as "call" says. Define it, or change "call".',
    ]);
    expect(findings({ code: "x = 1" })[0]).to.match(
      /^code: The code defines no function process_tuple; it is called once/,
    );
  });

  it("have the columns of their input with their own over them, of two inputs those of the last", () => {
    const [first, second] = [columns("a: long, b: string"), columns("b: string, c: double")];
    const outputColumns = [
      { name: "B", type: "integer" },
      { name: "x", type: "any" },
    ];
    const code = "def process_tuple(t, port): pass";
    expect(schemasOf(python({ code, outputColumns }), first)).to.deep.equal(["a:long b:integer x:any"]);
    const two = python({ code, outputColumns, inputs: 2 });
    expect(two).to.include({ inputs: 2, outputs: 1 });
    expect([two.dependsOn(0), two.dependsOn(1)]).to.deep.equal([[], [0]]);
    expect(schemasOf(two, first, second)).to.deep.equal(["b:integer c:double x:any"]);
    const other = python({ code, outputColumns, inputs: 2, retainedInput: 0 });
    expect(schemasOf(other, first, second)).to.deep.equal(["a:long b:integer x:any"]);
    expect(schemasOf(python({ code, outputColumns, retainInputColumns: false }), first)).to.deep.equal([
      "B:integer x:any",
    ]);
  });

  it("have a port for each listed output", () => {
    const outputs: Json = [{ columns: [] }, { columns: [{ name: "why", type: "string" }], retainInputColumns: false }];
    const instance = python({ code: "def process_tuple(t): pass", outputs });
    expect(instance.outputs).to.equal(2);
    expect(schemasOf(instance, columns("a: long"))).to.deep.equal(["a:long", "why:string"]);
  });

  it("that contradict themselves are told how", () => {
    const tuple = "def process_tuple(t): pass";
    const source = "def produce(): yield {'x': 1}";
    const x = [{ name: "x", type: "long" }];
    const told: [Properties, RegExp][] = [
      [{ code: source, outputColumns: x, inputs: 1 }, /^inputs: A source has no input/],
      [{ code: source }, /^outputColumns: .* must not be empty for a source/],
      [{ code: tuple, inputs: 0, outputColumns: x }, /^inputs: process_tuple is given rows, so it needs an input/],
      [{ code: tuple, inputs: 3 }, /^inputs: .*at most 2/],
      [{ code: tuple, retainedInput: 1 }, /^retainedInput: There is no input port 1/],
      [{ code: tuple, outputColumns: x, outputs: [{ columns: x }] }, /^outputColumns: With "outputs"/],
      [{ code: tuple, outputs: [{ retainInputColumns: false }] }, /^outputs.0.columns: .*would have no column/],
      [{ code: tuple, outputs: [{ columns: [...x, ...x] }] }, /^outputs.0.columns.1.name: .*used twice/],
      [{ code: tuple, outputs: [] }, /^outputs: .*must not be empty/],
    ];
    for (const [properties, sentence] of told) expect(findings(properties)[0], sentence.source).to.match(sentence);
  });
});
