import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { workflowPlan } from "../../src/cli/workflow-file.js";
import { CompileResponse } from "../../src/contract/postern/v1/compile.js";
import { exported, link } from "../core/exported-workflows.js";
import { sample } from "../core/texera-samples.js";
import { startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const scanAndLimit = exported(
  [sample("read", "CSVFileScan", undefined, { customDisplayName: "Sales" }), sample("few", "Limit")],
  [link("read", "few")],
);
const withSpam = exported(
  [
    sample("read", "CSVFileScan"),
    sample("spam", "SpamModel", { attribute: "text" }),
    sample("few", "Limit", undefined, { viewResult: true }),
  ],
  [link("read", "spam"), link("spam", "few")],
);
const SPAM = "# outputs: is_spam: boolean\ndef process_tuple(tuple_):\n    return {'is_spam': True}\n";

describe("postern import texera", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "postern-import-"));
    await writeFile(join(dir, "w.json"), JSON.stringify(scanAndLimit));
    await writeFile(join(dir, "spam.json"), JSON.stringify(withSpam));
    await writeFile(join(dir, "spam.py"), SPAM);
  });
  afterEach(() => rm(dir, { recursive: true }));
  const run = (...args: string[]) => cli(["import", "texera", ...args], fakeTerminal({ cwd: dir }));

  it("prints a workflow file that the other commands read, and its report beside it", async () => {
    const { code, out, err } = await run("w.json", "--dataset", "sales.csv=shop@2");
    expect(code, err).to.equal(0);
    const document = JSON.parse(out);
    expect(document).to.deep.equal({
      operators: [
        {
          id: "read",
          type: "scan",
          displayName: "Sales",
          properties: { dataset: "shop@2", limit: 50, malformedRows: "skip" },
        },
        { id: "few", type: "limit", properties: { count: 10 } },
      ],
      links: [{ from: "read", to: "few" }],
    });
    expect(workflowPlan(document, "w").operators).to.have.length(2);
    expect(err).to.match(/^OPERATOR +TYPE IN TEXERA +BECOMES +ID\n/);
    expect(err).to.match(/\nSales +CSVFileScan +scan +read\n/);
    expect(err.trimEnd().split("\n").at(-1)).to.equal("2 of 2 operators imported from w.json.");
  });

  it("suggests a dataset's name for a file, and tells what to do about it", async () => {
    const { code, err } = await run("w.json", "-o", "out.json");
    expect(code).to.equal(0);
    expect(err).to.contain("Store /a@b.edu/shop/v1/sales.csv first: postern dataset put sales FILE");
    expect(err).to.contain("Run it: postern run out.json");
    expect(JSON.parse(await readFile(join(dir, "out.json"), "utf8")).operators[0].properties.dataset).to.equal("sales");
  });

  it("writes nothing while an operator cannot be imported: exit 3, with what to do", async () => {
    const { code, out, err } = await run("spam.json", "-o", "out.json");
    expect([code, out]).to.deep.equal([3, ""]);
    expect(err).to.match(/Cannot be imported\n {2}spam, SpamModel: .*--map SpamModel=FILE\.py/);
    expect(await readdir(dir)).to.not.include("out.json");
  });

  it("writes it disabled with --force, and says 3 all the same", async () => {
    const { code, out } = await run("spam.json", "--force");
    expect(code).to.equal(3);
    const { operators } = JSON.parse(out);
    expect(operators[1]).to.deep.equal({
      id: "spam",
      type: "SpamModel",
      properties: { attribute: "text" },
      disabled: true,
    });
    expect(operators[2].viewResult).to.equal(true);
  });

  it("takes a user function for it, with its settings in the first line", async () => {
    const { code, out, err } = await run("spam.json", "--map", "SpamModel=spam.py");
    expect(code, err).to.equal(0);
    const { code: source, outputColumns } = JSON.parse(out).operators[1].properties;
    expect(source.split("\n")[0]).to.equal('properties = {"attribute": "text"}  # outputs: is_spam: boolean');
    expect(outputColumns).to.deep.equal([{ name: "is_spam", type: "boolean" }]);
  });

  it("tells everything as one document with --json", async () => {
    const { code, out, err } = await run("spam.json", "--json");
    expect([code, err]).to.deep.equal([3, ""]);
    const document = JSON.parse(out);
    expect(document).to.have.all.keys("operators", "findings", "datasets");
    expect(document.operators.map(({ outcome }: { outcome: string }) => outcome)).to.deep.equal([
      "imported",
      "refused",
      "imported",
    ]);
    const forced = JSON.parse((await run("spam.json", "--json", "--force")).out);
    expect(forced.workflow.operators).to.have.length(3);
  });

  it("is told what the server's compiler finds, with --check: exit 2", async () => {
    const server = await startFakeServer({
      compile: () =>
        CompileResponse.fromPartial({
          diagnostics: [
            { severity: 1, operatorId: "read", property: "dataset", message: "There is no dataset sales." },
          ],
        }),
    });
    try {
      const env = { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p" };
      const args = ["import", "texera", "w.json", "--check", "-o", "out.json"];
      const { code, err } = await cli(args, fakeTerminal({ cwd: dir, env }));
      expect(code, err).to.equal(2);
      expect(err).to.contain("The plan cannot run:\n  read.dataset: There is no dataset sales.");
      expect(await readdir(dir)).to.include("out.json");
    } finally {
      server.stop();
    }
  });

  describe("refuses, with one sentence and exit 2,", () => {
    for (const [what, args, words] of [
      ["a file that is not there", ["absent.json"], /There is no file absent\.json/],
      ["a file that Texera did not export", ["own.json"], /no workflow exported from Apache Texera/],
      [
        "a function for a type that is not there",
        ["w.json", "--map", "Limt=spam.py"],
        /"Limt"; did you mean "Limit"\?/,
      ],
      ["a function of another language", ["w.json", "--map", "Limit=spam.rb"], /ends in \.py or \.js/],
      ["a function that cannot be read", ["w.json", "--map", "Limit=absent.py"], /absent\.py cannot be read/],
      ["an option without two sides", ["w.json", "--dataset", "sales.csv"], /--dataset sales\.csv=sales/],
      ["a dataset for a file it does not read", ["w.json", "--dataset", "sale.csv=a"], /reads no file "sale\.csv"/],
      ["a dataset that is no name", ["w.json", "--dataset", "sales.csv=a b"], /names no dataset/],
      ["the same file twice", ["w.json", "--dataset", "sales.csv=a", "--dataset", "sales.csv=b"], /twice/],
      ["an output that cannot be written", ["w.json", "-o", "absent/out.json"], /cannot be written/],
    ] as const)
      it(what, async () => {
        await writeFile(join(dir, "own.json"), '{"operators": []}');
        const { code, err, out } = await run(...args);
        expect([code, out]).to.deep.equal([2, ""]);
        expect(err).to.match(words);
      });
  });
});
