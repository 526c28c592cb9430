// A workflow exported from Apache Texera, from import to result: on a real system, with real Python, compared with what
// it gives when it is computed without an engine.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { cli, fakeTerminal } from "../cli/fake-terminal.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { fraudDomains, RESULT_COLUMNS, type ResultRow } from "./fraud-domains.js";

const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const TEXERA = fileURLToPath(new URL("../data/texera/", import.meta.url));
const PYTHON = fileURLToPath(new URL("../../.build/python-venv/bin", import.meta.url));
const WORKFLOW = join(TEXERA, "fraud-domains.workflow.json");
const MAP = ["--map", `HuggingFaceSpamSMSDetection=${join(TEXERA, "spam.py")}`];
const DATASET = ["--dataset", "domains_big.csv=domains"];

describe("A workflow exported from Texera", function () {
  this.timeout(180_000);
  let dir: string;
  let stack: ReturnType<typeof spawn>;
  let ended: Promise<unknown>;

  before(async function () {
    // Its functions over whole tables are given pandas frames.
    if (!existsSync(join(PYTHON, "python3"))) {
      if (process.env.CI === "true") throw new Error("There is no Python with pandas: run scripts/python-packages.sh.");
      this.skip();
    }
    dir = await makeTestDirectory();
    stack = spawn(
      process.execPath,
      ["--import", "tsx", CLI, "dev", "--listen", "127.0.0.1:0", "--dir", join(dir, "dev")],
      {
        env: { PATH: `${PYTHON}${delimiter}${process.env.PATH}`, HOME: "/tmp" },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    let said = "";
    stack.stderr!.setEncoding("utf8").on("data", (text: string) => (said += text));
    let over = false;
    ended = new Promise((resolve) => stack.once("close", resolve)).then(() => (over = true));
    while (!(await readFile(join(dir, "dev", "client.json")).catch(() => undefined))) {
      if (over) throw new Error(`postern dev ended:\n${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const put = await postern("dataset", "put", "domains", join(TEXERA, "domains-2000.csv"));
    expect(put.code, put.err).to.equal(0);
  });
  after(async () => {
    stack?.kill("SIGTERM");
    await ended;
    if (dir) await removeTestDirectory(dir);
  });

  const postern = (...args: string[]) => cli(args, fakeTerminal({ cwd: dir, env: { POSTERN_DIR: join(dir, "dev") } }));

  const emails = async () => (await readFile(join(TEXERA, "domains-2000.csv"), "utf8")).trimEnd().split("\n").slice(1);

  /** Imports the file, runs what comes of it, and gives the rows of its last join. */
  async function result(file: string): Promise<ResultRow[]> {
    const imported = await postern("import", "texera", file, ...MAP, ...DATASET, "-o", "fraud.json");
    expect(imported.code, imported.err).to.equal(0);
    const run = await postern("run", "fraud.json", "--json", "--limit", "10000");
    expect(run.code, run.err || JSON.stringify(JSON.parse(run.out).execution.failure)).to.equal(0);
    const { execution, results } = JSON.parse(run.out);
    expect(execution.state).to.equal("EXECUTION_STATE_COMPLETED");
    const last = results.find(({ port }: { port: string }) => port.startsWith("HashJoin-operator-cd6fdec0"));
    expect(last.schema.attributes.map(({ name }: { name: string }) => name)).to.deep.equal(RESULT_COLUMNS);
    return last.rows.map((row: Record<string, ResultRow[number]>) => RESULT_COLUMNS.map((name) => row[name] ?? null));
  }

  const sorted = (rows: ResultRow[]) => rows.map((row) => JSON.stringify(row)).sort();

  it("is compiled without a finding once its spam model is mapped and its dataset named", async () => {
    const { code, err } = await postern(
      "import",
      "texera",
      WORKFLOW,
      ...MAP,
      ...DATASET,
      "--check",
      "-o",
      "checked.json",
    );
    expect(code, err).to.equal(0);
    expect(err).to.contain("20 of 20 operators imported").and.to.contain("The server compiles it.");
  });

  it("gives what it gives without an engine", async () => {
    const rows = await result(WORKFLOW);
    expect(rows).to.have.length.greaterThan(50);
    expect(sorted(rows)).to.deep.equal(sorted(fraudDomains((await emails()).slice(0, 50))));
  });

  it("does so with 2,000 addresses, when its scan has no limit", async () => {
    const workflow = JSON.parse(await readFile(WORKFLOW, "utf8"));
    delete workflow.operators[0].operatorProperties.limit;
    await writeFile(join(dir, "unlimited.json"), JSON.stringify(workflow));
    expect(sorted(await result("unlimited.json"))).to.deep.equal(sorted(fraudDomains(await emails())));
  });
});
