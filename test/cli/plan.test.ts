import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { type PlanDocument, storedLinks } from "../../src/cli/plan/plan-document.js";
import { texeraPlan } from "../../src/cli/plan/texera-plan.js";
import { ExplainMissResponse } from "../../src/contract/postern/v1/cache.js";
import {
  type CompileRequest,
  CompileResponse,
  CostModel,
  ScheduleMode,
} from "../../src/contract/postern/v1/compile.js";
import { anyWorkflow, exported, link, operator } from "../core/exported-workflows.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const FRAUD_DOMAINS = join(process.cwd(), "test/data/texera/fraud-domains.workflow.json");

/** The plan of the paper's figure: a scan that feeds both sides of a join, one of them through a filter. */
const bothSides = exported(
  [operator("csv", "CSVFileScan"), operator("keyword", "KeywordSearch"), operator("join", "HashJoin")],
  [link("csv", "join:0"), link("csv", "keyword"), link("keyword", "join:1")],
);

/** The ports cost, counted from the document alone. */
function portsOf(plan: PlanDocument): number {
  const stored = storedLinks(plan);
  const outputs = [
    ...stored.map(({ from, fromPort }) => `${from}:${fromPort}`),
    ...plan.viewed.map(({ operator: id, port }) => `${id}:${port}`),
  ];
  return new Set(outputs).size + new Set(stored.map(({ to, toPort }) => `${to}:${toPort}`)).size;
}

describe("postern plan", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "postern-plan-"));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const file = async (name: string, json: unknown) => {
    await writeFile(join(dir, name), typeof json === "string" ? json : JSON.stringify(json));
    return name;
  };

  describe("of a workflow exported from Texera", () => {
    const plan = (...args: string[]) => cli(["plan", ...args], fakeTerminal({ cwd: dir }));

    it("needs no server and prints plan and schedule as one document", async () => {
      const { code, out, err } = await plan(FRAUD_DOMAINS, "--json");
      expect([code, err]).to.deep.equal([0, ""]);
      const document: PlanDocument = JSON.parse(out);
      expect(Object.keys(document)).to.have.members([
        "operators",
        "links",
        "viewed",
        "materialized",
        "regions",
        "levels",
        "cost",
        "optimal",
        "explored",
        "millis",
        "costModel",
        "mode",
      ]);
      expect(document).to.include({ cost: 17, optimal: true, costModel: "ports", mode: "exact" });
      expect(document.links[0]).to.have.all.keys("id", "from", "fromPort", "to", "toPort", "mustMaterialize", "why");
      expect(document.regions[0]).to.have.all.keys("id", "level", "operators", "cached");
    });

    it("finds the least cost of the published example", async () => {
      const { out } = await plan(await file("w.json", bothSides), "--json");
      const document: PlanDocument = JSON.parse(out);
      expect(document.cost).to.equal(5);
      expect(document.materialized).to.have.length(1);
      const [chosen] = storedLinks(document).filter(({ mustMaterialize }) => !mustMaterialize);
      expect(chosen!.why).to.match(/^Chosen by the schedule/);
    });

    it("has regions that lie on one side of every stored link, levels that rise along it, and the cost counted", () => {
      fc.assert(
        fc.property(anyWorkflow, fc.constantFrom("exact", "greedy", "all-materialized"), (json, mode) => {
          const { document } = texeraPlan(json, "w.json", { mode: mode as PlanDocument["mode"] });
          const regionOf = new Map(document.regions.flatMap((region) => region.operators.map((id) => [id, region])));
          expect([...regionOf.keys()]).to.have.members(document.operators.map(({ id }) => id));
          const stored = new Set(storedLinks(document));
          for (const one of document.links) {
            const [from, to] = [regionOf.get(one.from)!, regionOf.get(one.to)!];
            if (stored.has(one)) expect(from.level).to.be.lessThan(to.level);
            else expect(from).to.equal(to);
            expect(one.why !== "").to.equal(stored.has(one));
          }
          expect(document.levels.flat()).to.have.members(document.regions.map(({ id }) => id));
          expect(document.cost).to.equal(portsOf(document));
        }),
        { numRuns: 60 },
      );
    });

    it("ends its tables with the cost", async () => {
      const { code, out } = await plan(FRAUD_DOMAINS);
      expect(code).to.equal(0);
      expect(out).to.contain("24 operators in 5 regions").and.to.contain("8 links through storage");
      expect(out.trimEnd().split("\n").at(-1)).to.match(/^cost 17 ports, optimal, [\d,]+ states?, [\d.,]+ ms$/);
    });

    it("names unknown operator types, and says that there is no history, on standard error", async () => {
      const json = exported([operator("a", "CSVFileScan"), operator("b", "Hologram")], [link("a", "b")]);
      const notes = [
        "A file tells nothing about earlier runs, which --cost seconds needs: ports are counted.",
        "Unknown operator type Hologram (1 operator): planned by the ports in the file.",
      ];
      const { code, err } = await plan(await file("w.json", json), "--cost", "seconds");
      expect(code).to.equal(0);
      expect(err.split("\n")).to.deep.equal([...notes, ""]);
      const document = await plan("w.json", "--cost", "seconds", "--json");
      expect(document.err).to.equal("");
      expect(JSON.parse(document.out)).to.deep.include({ costModel: "ports", notes });
    });

    it("notes which options say nothing of it, but not with --json", async () => {
      const { code, err } = await plan(FRAUD_DOMAINS, "--sql", "--version", "2");
      expect([code, err]).to.deep.equal([0, "--sql and --version say nothing of a workflow exported from Texera.\n"]);
      expect((await plan(FRAUD_DOMAINS, "--sql")).err).to.equal(
        "--sql says nothing of a workflow exported from Texera.\n",
      );
      expect((await plan(FRAUD_DOMAINS, "--sql", "--json")).err).to.equal("");
    });

    it("keeps the two modes that are there for comparison", async () => {
      const name = await file("w.json", bothSides);
      const all: PlanDocument = JSON.parse((await plan(name, "--mode", "all-materialized", "--json")).out);
      expect(all.materialized).to.have.length(3);
      expect(all.regions).to.have.length(4);
      const greedy: PlanDocument = JSON.parse((await plan(name, "--mode", "greedy", "--json")).out);
      expect(greedy.mode).to.equal("greedy");
      expect(greedy.cost).to.be.at.least(5);
    });

    it("refuses a malformed file with one sentence and exit code 2", async () => {
      const cases: [json: unknown, sentence: RegExp][] = [
        ['{"operators": [}', /w\.json is not JSON: a value expected at line 1, column 16/],
        [exported([], []), /it has no operators/],
        [exported([operator("a", "CSVFileScan")], [link("a", "nowhere")]), /names the operator "nowhere"/],
      ];
      for (const [json, sentence] of cases) {
        const { code, out, err } = await plan(await file("w.json", json));
        expect([code, out]).to.deep.equal([2, ""]);
        expect(err).to.match(sentence);
        expect(err.trimEnd().split("\n")).to.have.length(1);
      }
    });

    it("is planned only: other commands say what it is", async () => {
      const { code, err } = await cli(
        ["run", FRAUD_DOMAINS],
        fakeTerminal({ cwd: dir, env: { POSTERN_SERVER: "127.0.0.1:1", POSTERN_TOKEN: "t", POSTERN_PROJECT: "p" } }),
      );
      expect(code).to.equal(2);
      expect(err).to.contain("was exported from Apache Texera: `postern import texera` turns it into");
    });

    it("is drawn to standard output, or into a file", async () => {
      const { out } = await plan(FRAUD_DOMAINS, "--svg");
      expect(out).to.match(/^<svg /);
      const written = await plan(FRAUD_DOMAINS, "--svg", "plan.svg");
      expect(written).to.deep.equal({ code: 0, out: "", err: "plan.svg written\n" });
      expect(await readFile(join(dir, "plan.svg"), "utf8")).to.match(/^<svg [\s\S]*<\/svg>\n$/);
      expect((await plan(FRAUD_DOMAINS, "--svg", "--json")).code).to.equal(2);
      expect((await plan(FRAUD_DOMAINS, "--svg", "no/such/dir.svg")).err).to.contain("cannot be written (ENOENT)");
    });
  });

  describe("of a workflow of our own", () => {
    let server: FakeServer;
    beforeEach(async () => {
      server = await startFakeServer();
    });
    afterEach(() => server.stop());
    const plan = (...args: string[]) =>
      cli(
        ["plan", ...args],
        fakeTerminal({ cwd: dir, env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p" } }),
      );
    const key = (operatorId: string, input = false, layer = "main") => ({ operatorId, layer, portId: 0, input });
    const schema = { attributes: [{ name: "n", type: 3 }] };
    const compiled = CompileResponse.fromPartial({
      planDigest: "d1",
      plan: {
        format: 1,
        operators: [
          {
            operatorId: "a",
            layer: "main",
            type: "scan",
            outputs: [{ key: key("a"), schema, subdagHash: "ab".repeat(32) }],
          },
          {
            operatorId: "b",
            layer: "main",
            type: "sort",
            inputs: [{ key: key("b", true), schema }],
            outputs: [
              { key: key("b"), schema, viewed: true, materialized: true, uncacheableReason: "It calls now()." },
            ],
          },
        ],
        links: [
          { id: "l", from: key("a"), to: key("b", true), materialized: true, mustMaterialize: true, why: "Because." },
        ],
        regions: [
          { id: 1, level: 0, operators: [{ operatorId: "a", layer: "main" }], cached: true },
          { id: 2, level: 1, operators: [{ operatorId: "b", layer: "main" }] },
        ],
      },
      schedule: {
        costModel: CostModel.COST_MODEL_SECONDS,
        mode: ScheduleMode.SCHEDULE_MODE_EXACT,
        cost: 1.25,
        optimal: false,
        explored: 12345n,
        millis: 1000.4,
      },
    });

    it("is the server's plan with schemas, fingerprints or the reason for none, and findings", async () => {
      server.handlers.compile = () => compiled;
      const document = JSON.parse((await plan(await file("w.json", { operators: [] }), "--json")).out);
      expect(document).to.deep.include({
        cost: 1.25,
        optimal: false,
        explored: 12345,
        millis: 1000.4,
        costModel: "seconds",
        mode: "exact",
        levels: [[1], [2]],
        viewed: [{ operator: "b", port: 0 }],
        materialized: [],
        planDigest: "d1",
        diagnostics: [],
      });
      expect(document.regions[0]).to.deep.equal({ id: 1, level: 0, operators: ["a"], cached: true });
      expect(document.links).to.deep.equal([
        { id: "l", from: "a", fromPort: 0, to: "b", toPort: 0, mustMaterialize: true, why: "Because." },
      ]);
      const [a, b] = document.operators;
      expect(a).to.include({ id: "a", type: "scan" });
      expect(a.outputs[0]).to.include({ subdagHash: "ab".repeat(32), uncacheableReason: "" });
      expect(b.outputs[0]).to.include({ subdagHash: "", uncacheableReason: "It calls now().", viewed: true });
      expect(b.inputs[0].schema).to.deep.equal({ attributes: [{ name: "n", type: "ATTRIBUTE_TYPE_LONG" }] });
    });

    it("is compiled as the options say, from a file or from a stored version", async () => {
      const asked: CompileRequest[] = [];
      server.handlers.compile = (request) => {
        asked.push(request);
        return compiled;
      };
      await plan(await file("w.json", { operators: [] }), "--cost", "bytes", "--mode", "greedy", "--deadline", "50");
      await plan("--workflow", "sales", "--version", "3");
      expect(asked[0]).to.deep.include({ costModel: CostModel.COST_MODEL_BYTES, deadlineMs: 50 });
      expect(asked[0]!.scheduleMode).to.equal(ScheduleMode.SCHEDULE_MODE_GREEDY);
      expect(asked[1]).to.deep.include({ costModel: CostModel.COST_MODEL_UNSPECIFIED, deadlineMs: 0 });
      expect(asked[1]!.source).to.deep.equal({ $case: "workflow", value: { workflowId: "sales", version: 3 } });
    });

    it("is printed with its results, what is cached, and a cost that says what it is worth", async () => {
      server.handlers.compile = () => compiled;
      const { out } = await plan("--workflow", "sales");
      expect(out).to.match(/a\s+scan\s+1 \(cached\)\s+0\s+n long/);
      expect(out).to.match(/b\s+yes\s+no\s+none: It calls now\(\)\./);
      expect(out).to.contain("cost 1.250 s, not proven optimal: the time was up, 12,345 states, 1,000 ms");
    });

    it("says which remembered results an edited file would invalidate, and by what", async () => {
      const id = (name: string) => `(logicalOpId=${name},layerName=main,portId=0,isInternal=false,isInput=false)`;
      let asked: unknown;
      server.handlers.explainMiss = (request) => {
        asked = request;
        return ExplainMissResponse.fromPartial({
          ports: [
            { globalPortId: id("a"), subdagHash: "h", hit: true },
            {
              globalPortId: id("b"),
              subdagHash: "i",
              nearest: { subdagHash: "j" },
              differences: [
                { operatorId: "b", path: "properties.predicate", before: '"n > 1"', after: '"n > 2"' },
                { operatorId: "a", path: "datasetVersion", before: "1", after: "2" },
              ],
            },
            { globalPortId: id("c"), subdagHash: "k" },
            { globalPortId: id("d"), uncacheableReason: "It calls now()." },
          ],
        });
      };
      const name = await file("edited.json", { operators: [] });
      const { code, out } = await plan(name, "--what-if", "--workflow", "sales");
      expect(code).to.equal(0);
      expect(asked).to.deep.include({ projectId: "p", workflowId: "sales", version: 0, globalPortIds: [] });
      expect(asked).to.have.nested.property("plan.operators").that.deep.equals([]);
      expect(out.split("\n").slice(2)).to.deep.equal([
        "a     cached",
        'b     changed        b.properties.predicate: "n > 1" → "n > 2"',
        "                     a.datasetVersion: 1 → 2",
        "c     new            No result of this port has been remembered.",
        "d     not cacheable  It calls now().",
        "",
        "1 of 4 results cached, 1 would be computed again because of what changed, 1 new, 1 not cacheable",
        "",
      ]);
      await plan(name, "--what-if");
      expect(asked).to.deep.include({ workflowId: "edited" });
      const document = JSON.parse((await plan(name, "--what-if", "--json")).out);
      expect(document.invalidated).to.deep.equal([id("b")]);
      expect(document.ports).to.have.length(4);
    });

    it("asks for one thing to plan, and for what --what-if can answer", async () => {
      expect((await plan()).err).to.contain("Name either a workflow file or");
      expect((await plan("--what-if")).err).to.contain("Name a workflow file");
      expect((await plan(FRAUD_DOMAINS, "--what-if")).err).to.contain("not one exported from Texera");
      expect(server.calls).to.deep.equal([]);
    });
  });
});
