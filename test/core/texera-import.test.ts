import { readFileSync } from "node:fs";
import { expect } from "chai";
import fc from "fast-check";
import { readDrawing } from "../../src/core/drawing.js";
import { isName } from "../../src/core/ids.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import type { Properties } from "../../src/core/plan.js";
import { planFindings } from "../../src/core/plan-findings.js";
import { datasetChoices, filesOf } from "../../src/core/texera/dataset-choices.js";
import { readExportedWorkflow } from "../../src/core/texera/exported-workflow.js";
import { IMPORT_RULES } from "../../src/core/texera/import-rules.js";
import { type Import, type ImportRequest, importWorkflow } from "../../src/core/texera/import-workflow.js";
import type { MappedCode } from "../../src/core/texera/mapped-code.js";
import { withImportTables } from "../../src/dev/texera-tables.js";
import { exported, type FileLink, type FileOperator, link } from "./exported-workflows.js";
import { SAMPLES, sample } from "./texera-samples.js";

function imported(operators: FileOperator[], links: FileLink[] = [], request: Partial<ImportRequest> = {}): Import {
  const workflow = readExportedWorkflow(exported(operators, links), "w.json", { keepDisabled: true });
  return importWorkflow(workflow, { mapped: new Map(), ...datasetChoices(filesOf(workflow), []), ...request });
}

const typesKnown = IMPORT_RULES.flatMap(({ types }) => types);
const importable = IMPORT_RULES.filter(({ uses }) => uses.length > 0).flatMap(({ types }) => types);

/** What one operator of a type becomes. */
function one(type: string, properties?: object) {
  const { plan, operators } = imported([sample("o", type, properties)]);
  return { account: operators[0]!, operators: plan.operators, properties: plan.operators[0]!.properties };
}

const spam: MappedCode = {
  fileName: "spam.py",
  language: "python",
  code: "# outputs: {Spam result attribute}: boolean, score: double\ndef process_tuple(tuple_):\n    return {}\n",
};

describe("Importing an exported Texera workflow", () => {
  describe("operator types", () => {
    it("has one rule for each type, and a sample of each that it imports", () => {
      expect(new Set(typesKnown).size).to.equal(typesKnown.length);
      expect(Object.keys(SAMPLES)).to.have.members(importable);
    });

    for (const type of importable)
      it(`imports ${type}, with nothing but the operators its rule names`, () => {
        const { account } = one(type);
        expect(account.problem).to.equal("");
        const rule = IMPORT_RULES.find(({ types }) => types.includes(type))!;
        expect(rule.uses).to.include.members(account.types);
      });

    it("are in docs/texera.md as their rules say (`make operators` writes it)", () => {
      const written = readFileSync("docs/texera.md", "utf8");
      expect(written).to.equal(withImportTables(written));
    });

    it("names only operators of ours that there are", () => {
      for (const { uses } of IMPORT_RULES) expect([...OPERATOR_TYPES.keys()]).to.include.members([...uses]);
    });

    it("refuses what reaches the network, and types nobody knows, each with what to do", () => {
      expect(one("MySQLSource").account.problem).to.match(/network.*dataset/s);
      expect(one("Hologram").account.problem).to.match(/--map Hologram=FILE\.py/);
    });

    it("refuses settings that were never filled in, by name", () => {
      expect(one("HashJoin", { joinType: "inner" }).account.problem).to.match(
        /buildAttributeName.*probeAttributeName/s,
      );
      expect(one("Limit", { limit: "many" }).account.problem).to.match(/"limit" must be a whole number/);
    });
  });

  describe("Python functions", () => {
    const twoInputs = { inputPorts: [{ portID: "input-0" }, { portID: "input-1", dependencies: [0] }] };

    it("keep the columns of the first of two inputs, or of the second where Texera's operator does", () => {
      const { plan } = imported([
        sample("a", "PythonUDFV2", undefined, twoInputs),
        sample("b", "DualInputPortsPythonUDFV2"),
        sample("c", "PythonUDFV2"),
      ]);
      const retained = plan.operators.map(({ properties: { inputs, retainedInput } }) => [inputs, retainedInput]);
      expect(retained).to.deep.equal([
        [2, 0],
        [2, 1],
        [undefined, undefined],
      ]);
    });

    it("are refused with more inputs than a function here has", () => {
      const three = { inputPorts: [0, 1, 2].map((i) => ({ portID: `input-${i}` })) };
      const { operators } = imported([sample("a", "PythonUDFV2", undefined, three)]);
      expect(operators[0]!.problem).to.match(/at most 2 input ports/);
    });
  });

  describe("filters", () => {
    it("compares with a number as Texera does, whatever the column's type", () => {
      expect(one("Filter").properties).to.deep.equal({
        predicate: `coalesce(TRY_CAST("n" AS DOUBLE) > CAST('5' AS DOUBLE), CAST("n" AS VARCHAR) > '5')`,
      });
    });

    it("keeps conditions on texts readable, and lets a row pass that meets any of them", () => {
      const predicates = [
        { attribute: "name", condition: "=", value: "a'b" },
        { attribute: "n", condition: "is null" },
      ];
      expect(one("Filter", { predicates }).properties).to.deep.equal({
        predicates: [
          { column: "name", condition: "=", value: "a'b" },
          { column: "n", condition: "is null" },
        ],
        match: "any",
      });
    });

    it("leaves numbers beyond 53 bits to the column's own type, which compares exactly", () => {
      const predicates = [{ attribute: "n", condition: "=", value: "9007199254740993" }];
      expect(one("Filter", { predicates }).properties).to.have.property("predicates");
    });

    it("refuses a regular expression that RE2 does not know", () => {
      expect(one("Regex", { attribute: "a", regex: "(?<=x)y" }).account.problem).to.match(/RE2/);
    });
  });

  describe("keywords", () => {
    const predicate = (keyword: string) => one("KeywordSearch", { attribute: "t", keyword }).properties.predicate;
    const problem = (keyword: string) => one("KeywordSearch", { attribute: "t", keyword }).account.problem;

    it("are optional without AND, demanded with it, and excluded with NOT", () => {
      expect(predicate("Red green")).to.match(/^\(contains\(.*, ' red '\) OR contains\(.*, ' green '\)\)$/);
      expect(predicate("red AND NOT green")).to.match(/^contains\(.*, ' red '\) AND NOT contains\(.*, ' green '\)$/);
      expect(predicate('+"New York" -rain')).to.match(/ ' new york '\) AND NOT .* ' rain '\)$/);
    });

    for (const query of ["wild*", "a~1", "(a b)", "field:a", "a AND b c", '"open', "AND a", "a AND", "NOT a", '""'])
      it(`refuses ${query}, with the query in the sentence`, () => {
        expect(problem(query)).to.not.equal("");
      });
  });

  describe("joins", () => {
    it("makes inner and left outer joins joins", () => {
      const settings = { buildAttributeName: "a", probeAttributeName: "b" };
      expect(one("HashJoin", { ...settings, joinType: "left outer" }).properties).to.deep.equal({
        type: "left",
        on: [{ left: "a", right: "b" }],
      });
    });

    it("adds the rows without a partner to a full outer join as Texera does: their columns by name", () => {
      const { plan } = imported(
        [
          sample("l", "CSVFileScan"),
          sample("r", "CSVFileScan"),
          sample("j", "HashJoin", { joinType: "full outer", buildAttributeName: "a", probeAttributeName: "b" }),
        ],
        [link("l", "j:0"), link("r", "j:1")],
      );
      expect(plan.operators.map(({ id, type }) => [id, type])).to.deep.include.members([
        ["j", "sql"],
        ["j.pairs", "join"],
      ]);
      expect(plan.links).to.have.deep.members([
        { from: "j.pairs", fromPort: 0, to: "j", toPort: 0 },
        { from: "l", fromPort: 0, to: "j.pairs", toPort: 0 },
        { from: "l", fromPort: 0, to: "j", toPort: 1 },
        { from: "r", fromPort: 0, to: "j.pairs", toPort: 1 },
        { from: "r", fromPort: 0, to: "j", toPort: 2 },
      ]);
    });
  });

  describe("links", () => {
    const scans = (count: number) => Array.from({ length: count }, (_, i) => sample(`s${i}`, "CSVFileScan"));
    const all = (to: string, count: number) => Array.from({ length: count }, (_, i) => link(`s${i}`, to));

    it("gives each link of a union a port of its own", () => {
      const { plan } = imported([...scans(3), sample("u", "Union")], all("u", 3));
      expect(plan.operators.at(-1)).to.deep.include({ id: "u", type: "union", properties: { inputs: 3 } });
      expect(plan.links.map(({ from, toPort }) => [from, toPort])).to.deep.equal([
        ["s0", 0],
        ["s1", 1],
        ["s2", 2],
      ]);
    });

    it("puts a union before any other port that takes several links, and says so", () => {
      const { plan, operators } = imported([...scans(2), sample("f", "PythonUDFV2")], all("f", 2));
      expect(plan.links).to.deep.include({ from: "f.in0", fromPort: 0, to: "f", toPort: 0 });
      expect(operators.at(-1)!.types).to.deep.equal(["union", "python-function"]);
    });

    it("spreads 40 sources over unions of 16 ports at most, none lost", () => {
      const { plan, findings } = imported([...scans(40), sample("u", "Union")], all("u", 40));
      expect(findings).to.deep.equal([]);
      expect(plan.links.filter(({ from }) => from.startsWith("s"))).to.have.length(40);
    });
  });

  describe("what is disabled or refused", () => {
    it("stays in the plan, disabled, with its settings and links", () => {
      const { plan, operators } = imported(
        [sample("s", "CSVFileScan"), sample("h", "Hologram", { depth: 3 }), sample("l", "Limit")],
        [link("s", "h"), link("h", "l")],
      );
      expect(plan.operators[1]).to.deep.include({ id: "h", type: "Hologram", disabled: true });
      expect(plan.operators[1]!.properties).to.deep.equal({ depth: 3 });
      expect(plan.links).to.have.length(2);
      expect(operators.map(({ outcome }) => outcome)).to.deep.equal(["imported", "refused", "imported"]);
    });

    it("counts no link of an operator that was disabled in Texera", () => {
      const { plan, operators, findings } = imported(
        [sample("a", "CSVFileScan"), sample("b", "CSVFileScan", undefined, { isDisabled: true }), sample("u", "Union")],
        [link("a", "u"), link("b", "u")],
      );
      expect(operators[1]!.outcome).to.equal("disabled");
      expect(findings).to.deep.equal([]);
      expect(plan.links).to.deep.equal([{ from: "a", fromPort: 0, to: "u", toPort: 0 }]);
    });

    it("is told when an input has no link, although every operator is imported", () => {
      expect(imported([sample("l", "Limit")]).findings).to.deep.equal([
        '"l": Its input has no link; link an operator to it.',
      ]);
    });
  });

  describe("user functions that stand for operators", () => {
    const mapped = (properties: object, code: Partial<MappedCode> = {}) =>
      imported([sample("m", "Spam", properties)], [], { mapped: new Map([["Spam", { ...spam, ...code }]]) });
    const settings = { "Spam result attribute": "is_spam", attribute: 'q"\u2028', deep: [null, true, 1.5] };

    it("name their columns after the operator's settings, which they get without a line moving", () => {
      const { plan } = mapped(settings);
      const { properties, type } = plan.operators[0]!;
      expect(type).to.equal("python-function");
      expect(properties.outputColumns).to.deep.equal([
        { name: "is_spam", type: "boolean" },
        { name: "score", type: "double" },
      ]);
      const lines = String(properties.code).split("\n");
      expect(lines[0]).to.match(
        /^properties = \{"Spam result attribute": "is_spam", [\s\S]*\[None, True, 1\.5\]\} {2}# outputs/,
      );
      expect(lines.slice(1)).to.deep.equal(spam.code.split("\n").slice(1));
    });

    it("may be JavaScript", () => {
      const code = "// outputs: ok: boolean\nfunction processTuple(tuple) { return { ok: true }; }\n";
      const { plan } = mapped(settings, { language: "javascript", code });
      expect(plan.operators[0]!.type).to.equal("javascript-function");
      expect(plan.operators[0]!.properties.code).to.match(/^const properties = \{.*\}; \/\/ outputs: ok: boolean\n/);
    });

    for (const [what, code, words] of [
      ["no header", "def process_tuple(t): pass\n", /first line/],
      ["an unknown type", "# outputs: a: text\ndef process_tuple(t): pass\n", /no output.*string/s],
      ["a setting that is not there", "# outputs: {absent}: string\ndef process_tuple(t): pass\n", /"absent"/],
      ["nothing to be called", "# outputs: a: string\nx = 1\n", /process_tuple/],
      [
        "a retain that is neither",
        "# outputs: a: string\n# retain-input-columns: maybe\ndef process_tuple(t): pass\n",
        /true or false/,
      ],
    ] as const)
      it(`are refused with ${what}`, () => {
        expect(mapped(settings, { code }).operators[0]!.problem).to.match(words);
      });

    it("stand for one operator when they are given for its id", () => {
      const { operators } = imported([sample("a", "Limit"), sample("b", "Limit")], [], {
        mapped: new Map([["b", { ...spam, code: spam.code.replace("{Spam result attribute}", "x") }]]),
      });
      expect(operators.map(({ types }) => types[0])).to.deep.equal(["limit", "python-function"]);
    });
  });

  describe("datasets", () => {
    const choices = datasetChoices(
      ["/me/a/v1/sales.csv", "/me/b/v1/sales.csv", "/me/b/v1/x y.csv"],
      [
        { file: "sales.csv", dataset: "any" },
        { file: "b/v1/sales.csv", dataset: "other@2" },
      ],
    );

    it("are found by as much of the path as was given, the longest first", () => {
      expect(choices.datasetFor("/me/a/v1/sales.csv")).to.deep.equal({ dataset: "any", given: true });
      expect(choices.datasetFor("/me/b/v1/sales.csv")).to.deep.equal({ dataset: "other@2", given: true });
    });

    it("get a name from their file when none was given, different for different files", () => {
      expect(choices.datasetFor("/me/b/v1/x y.csv")).to.deep.equal({ dataset: "x-y", given: false });
      const same = datasetChoices(["/me/a/v1/sales.csv", "/me/b/v1/sales.csv"], []);
      const names = ["/me/a/v1/sales.csv", "/me/b/v1/sales.csv"].map((path) => same.datasetFor(path).dataset);
      expect(new Set(names).size).to.equal(2);
    });
  });

  it("keeps ids that fit, and makes others fit, the same way every time and apart", () => {
    const ids = ["a b", "a-b", "ok_1", "x".repeat(180), "é"];
    const make = () => imported(ids.map((id) => sample(id, "CSVFileScan"))).operators.map(({ id }) => id);
    expect(make()).to.deep.equal(make());
    expect(new Set(make()).size).to.equal(ids.length);
    expect(make().every(isName)).to.equal(true);
    expect(make()[2]).to.equal("ok_1");
  });

  describe("any workflow", () => {
    const anyProperties = (type: string): fc.Arbitrary<object> =>
      fc.oneof(
        { weight: 3, arbitrary: fc.constant(SAMPLES[type] ?? {}) },
        {
          weight: 1,
          arbitrary: fc.dictionary(fc.constantFrom(...Object.keys(SAMPLES[type] ?? { a: 1 }), "x"), fc.jsonValue()),
        },
      );
    const anyOperator = (id: string) =>
      fc
        .constantFrom(...typesKnown, "Hologram")
        .chain((type) =>
          fc
            .record({ properties: anyProperties(type), isDisabled: fc.boolean(), viewResult: fc.boolean() })
            .map(({ properties, ...more }) =>
              sample(id, type, properties, { ...more, isDisabled: more.isDisabled && id !== "o0" }),
            ),
        );
    const anyImport = fc.integer({ min: 1, max: 10 }).chain((size) =>
      fc.record({
        operators: fc.tuple(...Array.from({ length: size }, (_, i) => anyOperator(`o${i}`))),
        pairs: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1), fc.nat(1), fc.nat(1)), { maxLength: 25 }),
      }),
    );
    const linksOf = (operators: FileOperator[], pairs: [number, number, number, number][]): FileLink[] =>
      pairs.flatMap(([a, b, out, into], i) => {
        const [source, target] = [operators[Math.min(a, b)]!, operators[Math.max(a, b)]!];
        const [outs, ins] = [source.outputPorts.length, target.inputPorts.length];
        if (a === b || outs === 0 || ins === 0) return [];
        return [
          { ...link(`${source.operatorID}:${out % outs}`, `${target.operatorID}:${into % ins}`), linkID: `l${i}` },
        ];
      });

    it("becomes a plan that our reader accepts, or findings, and never an error", () => {
      fc.assert(
        fc.property(anyImport, ({ operators, pairs }) => {
          const { plan, operators: accounts, findings } = imported(operators, linksOf(operators, pairs));
          expect(accounts.map(({ texeraId }) => texeraId)).to.deep.equal(operators.map((o) => o.operatorID));
          const ids = plan.operators.map(({ id }) => id);
          expect(new Set(ids).size).to.equal(ids.length);
          expect(ids).to.include.members(plan.links.flatMap(({ from, to }) => [from, to]));
          for (const { outcome, problem } of accounts) expect(problem !== "").to.equal(outcome === "refused");
          const all = planFindings();
          readDrawing(plan, all);
          const silent = findings.length === 0 && accounts.every(({ outcome }) => outcome !== "refused");
          if (silent) expect(all.list()).to.deep.equal([]);
        }),
        { numRuns: 300 },
      );
    });

    it("runs when it is drawn whole: complete settings and a link for every input", () => {
      const types = importable.filter((type) => sample("o", type).inputPorts.length > 0);
      fc.assert(
        fc.property(fc.array(fc.tuple(fc.constantFrom(...types), fc.nat(), fc.nat()), { maxLength: 12 }), (drawn) => {
          const operators = [sample("s", "CSVFileScan")];
          const links: FileLink[] = [];
          for (const [type, a, b] of drawn) {
            const next = sample(`o${operators.length}`, type);
            for (const [port, pick] of [a, b].slice(0, next.inputPorts.length).entries())
              links.push(link(operators[pick % operators.length]!.operatorID, `${next.operatorID}:${port}`));
            operators.push(next);
          }
          const { operators: accounts, findings } = imported(operators, links);
          expect(accounts.filter(({ outcome }) => outcome !== "imported")).to.deep.equal([]);
          expect(findings).to.deep.equal([]);
        }),
        { numRuns: 150 },
      );
    });

    it("is not harmed by names such as __proto__", () => {
      const properties = JSON.parse('{"__proto__": {"limit": 3}, "constructor": 1}') as Properties;
      expect(one("Limit", properties).account.problem).to.match(/"limit" is missing/);
    });
  });
});
