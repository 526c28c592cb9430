import { readFileSync } from "node:fs";
import { expect } from "chai";
import fc from "fast-check";
import { AppError } from "../../src/core/app-error.js";
import { isExportedWorkflow, readExportedWorkflow } from "../../src/core/texera/exported-workflow.js";
import { planningGraph } from "../../src/core/texera/planning-graph.js";
import { anyWorkflow, exported, type FileOperator, link, operator } from "./exported-workflows.js";

const fraudDomains: unknown = JSON.parse(readFileSync("test/data/texera/fraud-domains.workflow.json", "utf8"));

const graphOf = (json: unknown) => planningGraph(readExportedWorkflow(json, "w.json"), "w.json");
const stored = (json: unknown) =>
  graphOf(json)
    .links.filter(({ mustMaterialize }) => mustMaterialize)
    .map(({ id }) => id);

describe("workflows exported from Texera", () => {
  describe("are recognised", () => {
    it("by what only they have, sound or not", () => {
      expect(isExportedWorkflow(fraudDomains)).to.equal(true);
      expect(isExportedWorkflow({ operators: [{ operatorID: "a" }] })).to.equal(true);
      expect(isExportedWorkflow({ operators: [], operatorPositions: {} })).to.equal(true);
      expect(isExportedWorkflow({ operators: [{ id: "a", type: "scan" }], links: [] })).to.equal(false);
      for (const other of [null, 1, "x", [], {}, { operators: 5 }]) expect(isExportedWorkflow(other)).to.equal(false);
    });
  });

  it("are read and planned in a time that grows with their size, however many operators or ports of one they have", function () {
    this.timeout(20_000);
    const many = 60_000;
    const numbered = (side: string) => Array.from({ length: many }, (_, i) => ({ portID: `${side}-${i}` }));
    const operators = Array.from({ length: many }, (_, i) => operator(`o${i}`, "Filter"));
    const links = operators.slice(1).map((_, i) => link(`o${i}`, `o${i + 1}`));
    expect(graphOf(exported(operators, links)).viewed).to.have.length(1);
    const wide = operator("w", "X", { inputPorts: numbered("input"), outputPorts: [] });
    const waiting = wide.inputPorts.map((port, i) => (i === 0 ? port : { ...port, dependencies: [i - 1] }));
    const graph = graphOf(
      exported(
        [operator("s", "CSVFileScan"), { ...wide, inputPorts: waiting }],
        wide.inputPorts.map((_, i) => link("s", `w:${i}`)),
      ),
    );
    expect(graph.links.filter(({ mustMaterialize }) => !mustMaterialize)).to.have.length(1);
  });

  describe("are planned", () => {
    it("with hash joins as build and probe, aggregates as local and global, and everything else as drawn", () => {
      const graph = graphOf(fraudDomains);
      expect(graph.operators).to.have.length(20 + 3 + 1);
      expect(graph.links).to.have.length(23 + 3 + 1);
      const layers = graph.operators
        .filter(({ layer }) => layer !== "main")
        .map(({ type, layer }) => `${type}/${layer}`);
      expect([...layers].sort()).to.deep.equal([
        "Aggregate/globalAgg",
        "Aggregate/localAgg",
        ...Array<string>(3).fill("HashJoin/build"),
        ...Array<string>(3).fill("HashJoin/probe"),
      ]);
      expect(graph.unknown).to.deep.equal([]);
      expect(graph.viewed.map(({ operator: id, port }) => [id.split("-")[0], id.split("/")[1], port])).to.deep.equal([
        ["HashJoin", "probe", 0],
      ]);
      expect(graph.links.filter(({ mustMaterialize }) => mustMaterialize)).to.have.length(6);
    });

    it("with the build side on port 0 and the stream on port 1 of the probe", () => {
      const { links } = graphOf(
        exported(
          [operator("l", "CSVFileScan"), operator("r", "CSVFileScan"), operator("j", "HashJoin")],
          [link("l", "j:0"), link("r", "j:1")],
        ),
      );
      const ends = links.map(({ from, fromPort, to, toPort, mustMaterialize }) => [
        `${from}:${fromPort}`,
        `${to}:${toPort}`,
        mustMaterialize,
      ]);
      expect(ends).to.deep.equal([
        ["j/build:0", "j/probe:0", true],
        ["l:0", "j/build:0", false],
        ["r:0", "j/probe:1", false],
      ]);
    });

    for (const type of [
      "Sort",
      "Distinct",
      "Intersect",
      "Difference",
      "SymmetricDifference",
      "SklearnSVM",
      "SVCTrainer",
    ])
      it(`with the output of ${type} blocking`, () => {
        const json = exported(
          [operator("s", "CSVFileScan"), operator("x", type), operator("f", "Filter")],
          [link("s", "x"), link("x", "f")],
        );
        expect(stored(json)).to.deep.equal(["x->f"]);
      });

    for (const type of ["CartesianProduct", "IntervalJoin", "DualInputPortsPythonUDFV2"])
      it(`with the second input of ${type} after its first, though the file does not say so`, () => {
        const inputPorts = [{ portID: "input-0" }, { portID: "input-1" }];
        const json = exported(
          [operator("a", "CSVFileScan"), operator("b", "CSVFileScan"), operator("x", type, { inputPorts })],
          [link("a", "x:0"), link("b", "x:1")],
        );
        expect(stored(json)).to.deep.equal(["a->x:0"]);
      });

    it("with dependencies of ports in both spellings", () => {
      const withPorts = (dependencies: FileOperator["inputPorts"][0]["dependencies"]) =>
        exported(
          [
            operator("a", "CSVFileScan"),
            operator("u", "PythonUDFV2", {
              inputPorts: [{ portID: "input-0" }, { portID: "input-1", dependencies: dependencies! }],
            }),
          ],
          [link("a", "u:0"), link("a", "u:1")],
        );
      expect(stored(withPorts([]))).to.deep.equal([]);
      expect(stored(withPorts([0]))).to.deep.equal(["a->u:0"]);
      expect(stored(withPorts([{ id: 0, internal: false }]))).to.deep.equal(["a->u:0"]);
    });

    it("with ports numbered by their place, whatever their names", () => {
      const inputPorts = [{ portID: "input-2" }, { portID: "input-7", dependencies: [0] }];
      const json = exported(
        [operator("a", "CSVFileScan"), operator("u", "PythonUDFV2", { inputPorts })],
        [link("a", "u:7"), link("a", "u:2")],
      );
      expect(graphOf(json).links.map(({ toPort, mustMaterialize }) => [toPort, mustMaterialize])).to.deep.equal([
        [1, false],
        [0, true],
      ]);
    });

    it("without disabled operators and the links that touch them", () => {
      const json = exported(
        [operator("a", "CSVFileScan"), operator("b", "Filter", { isDisabled: true }), operator("c", "Sort")],
        [link("a", "b"), link("b", "c"), link("a", "c")],
      );
      const graph = graphOf(json);
      expect(graph.operators.map(({ id }) => id)).to.deep.equal(["a", "c"]);
      expect(graph.links.map(({ id }) => id)).to.deep.equal(["a->c"]);
    });

    it("with outputs viewed that are asked for or that nobody reads, never those between layers", () => {
      const json = exported(
        [
          operator("a", "CSVFileScan", { viewResult: true }),
          operator("s", "Split"),
          operator("g", "Aggregate", { viewResult: true }),
          operator("f", "Filter"),
        ],
        [link("a", "s"), link("s:0", "g"), link("g", "f")],
      );
      expect(graphOf(json).viewed).to.deep.equal([
        { operator: "a", port: 0 },
        { operator: "s", port: 1 },
        { operator: "g/globalAgg", port: 0 },
        { operator: "f", port: 0 },
      ]);
    });

    it("with several links between the same ports kept apart", () => {
      const twice = { ...link("a", "u"), linkID: "again" };
      const json = exported([operator("a", "CSVFileScan"), operator("u", "Union")], [link("a", "u"), twice]);
      expect(graphOf(json).links.map(({ id }) => id)).to.deep.equal(["a->u", "again"]);
    });

    it("with operators of unknown types by their ports, and named", () => {
      const json = exported(
        [
          operator("a", "CSVFileScan"),
          operator("x", "Hologram", {
            inputPorts: [{ portID: "input-0" }, { portID: "input-1", dependencies: [0] }],
          }),
        ],
        [link("a", "x:0"), link("a", "x:1")],
      );
      expect(stored(json)).to.deep.equal(["a->x:0"]);
      expect(graphOf(json).unknown).to.deep.equal([{ id: "x", type: "Hologram" }]);
    });

    it("with each operator after what it reads, every id once, and every reason given", () => {
      fc.assert(
        fc.property(anyWorkflow, (json) => {
          const { operators, links } = graphOf(json);
          const place = new Map(operators.map(({ id }, i) => [id, i]));
          expect(place.size).to.equal(operators.length);
          expect(new Set(links.map(({ id }) => id)).size).to.equal(links.length);
          for (const { from, to, mustMaterialize, why } of links) {
            expect(place.get(from)!).to.be.lessThan(place.get(to)!);
            expect(why !== "").to.equal(mustMaterialize);
          }
          const inner = operators.length - json.operators.length;
          expect(links).to.have.length(json.links.length + inner);
        }),
      );
    });
  });

  describe("that are malformed are refused in a sentence that says", () => {
    const sound = () => exported([operator("a", "CSVFileScan"), operator("b", "Filter")], [link("a", "b")]);
    const cases: [title: string, json: unknown, sentence: RegExp][] = [
      ["that there are no operators", exported([], []), /w\.json .*it has no operators/],
      [
        "that all of them are disabled",
        exported([operator("a", "Filter", { isDisabled: true })], []),
        /every operator is disabled; enable one/,
      ],
      [
        "which operator id is there twice",
        exported([operator("a", "CSVFileScan"), operator("a", "Filter")], []),
        /two operators have the id "a"/,
      ],
      [
        "which link id is there twice",
        { ...sound(), links: [link("a", "b"), link("a", "b")] },
        /two links have the id "a->b"/,
      ],
      [
        "which operator a link names in vain",
        { ...sound(), links: [link("a", "bb")] },
        /link "a->bb" names the operator "bb", which does not exist; did you mean "b"\?/,
      ],
      [
        "which port a link names in vain, and which there are",
        { ...sound(), links: [link("a", "b:3")] },
        /ends at port "input-3" of "b", which has the input ports input-0/,
      ],
      ["that an operator has no such side", { ...sound(), links: [link("b", "a")] }, /"a", which has no input ports/],
      [
        "where its links form a cycle",
        exported([operator("a", "Filter"), operator("b", "Filter")], [link("a", "b"), link("b", "a")]),
        /links form a cycle: (a → b → a|b → a → b)\. Remove one/,
      ],
      [
        "which port depends on one that is not there",
        exported([operator("a", "X", { inputPorts: [{ portID: "input-0", dependencies: [4] }] })], []),
        /input port 0 of "a" depends on input port 4, which is not there/,
      ],
      [
        "which ports wait for each other",
        exported(
          [
            operator("a", "X", {
              inputPorts: [
                { portID: "input-0", dependencies: [1] },
                { portID: "input-1", dependencies: [0] },
              ],
            }),
          ],
          [],
        ),
        /input ports of "a" wait for each other/,
      ],
      [
        "that a join lacks a port",
        exported([operator("j", "HashJoin", { inputPorts: [{ portID: "input-0" }] })], []),
        /operator "j": it has 1 input and 1 output ports where HashJoin has 2 and 1/,
      ],
      [
        "which id cannot be part of a port id",
        exported([operator("a,b", "Filter")], []),
        /operator id "a,b" holds a comma/,
      ],
      [
        "where the file has another shape",
        { operators: [{ operatorID: "a", operatorType: 5 }], links: [] },
        /operators\.0\.operatorType: .*Export the workflow from Texera again/,
      ],
      ["that links are missing", { operators: [operator("a", "Filter")] }, /links: /],
    ];
    for (const [title, json, sentence] of cases)
      it(title, () => {
        const error = refusal(() => graphOf(json));
        expect(error.code).to.equal("invalid");
        expect(error.message).to.match(sentence);
        expect(error.message).to.match(/^w\.json /);
      });
  });
});

function refusal(work: () => unknown): AppError {
  try {
    work();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("It was not refused.");
}
