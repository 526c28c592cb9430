// Whole workflows and wrong inputs on a real system: `postern dev` as its own processes, the command line as people use it.
import { spawn } from "node:child_process";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { openDevelopmentIssuer } from "../../src/dev/development-issuer.js";
import { cli, fakeTerminal } from "../cli/fake-terminal.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const DATA = fileURLToPath(new URL("../../node_modules/vega-datasets/data/", import.meta.url));
const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

describe("A whole system", function () {
  this.timeout(120_000);
  let dir: string;
  let stack: ReturnType<typeof spawn>;
  let ended: Promise<unknown>;

  before(async () => {
    dir = await makeTestDirectory();
    stack = spawn(
      process.execPath,
      ["--import", "tsx", CLI, "dev", "--listen", "127.0.0.1:0", "--dir", join(dir, "dev")],
      {
        env: { PATH: process.env.PATH, HOME: "/tmp" },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    let said = "";
    stack.stderr!.setEncoding("utf8").on("data", (text: string) => (said += text));
    let over = false;
    ended = new Promise((resolve) => stack.once("close", resolve)).then(() => (over = true));
    for (;;) {
      if (over) throw new Error(`postern dev ended:\n${said}`);
      if (await readFile(join(dir, "dev", "client.json")).catch(() => undefined)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
  after(async () => {
    stack.kill("SIGTERM");
    await ended;
    await removeTestDirectory(dir);
  });

  const postern = (args: string[], env: NodeJS.ProcessEnv = {}) =>
    cli(args, fakeTerminal({ cwd: dir, env: { POSTERN_DIR: join(dir, "dev"), ...env } }));
  const json = (text: string) => JSON.parse(text);

  async function file(name: string, content: unknown): Promise<string> {
    const path = join(dir, name);
    await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  }
  const scan = { id: "rows", type: "scan", properties: { dataset: "numbers" } };
  const plan = (...operators: object[]) => ({
    operators: [scan, ...operators],
    links: operators.map((o, i) => ({
      from: i === 0 ? "rows" : (operators[i - 1] as { id: string }).id,
      to: (o as { id: string }).id,
    })),
  });

  describe("examples", () => {
    before(async () => {
      for (const [name, data] of [
        ["flights", "flights-20k.json"],
        ["airports", "airports.csv"],
        ["weather", "weather.csv"],
      ] as const) {
        const { code, err } = await postern(["dataset", "put", name, join(DATA, data)]);
        expect(code, err).to.equal(0);
      }
    });

    it("run to their end on an executor: a union without user code", async () => {
      const { code, err } = await postern(["run", join(EXAMPLES, "served-airports.json")]);
      expect(code, err).to.equal(0);
    });

    it("run to their end on an executor: a Python function (pending where there is no python3)", async function () {
      const { code, err } = await postern(["run", join(EXAMPLES, "weather-comfort.json")]);
      if (/python3? .*(not found|cannot|no )/i.test(err)) return this.skip();
      expect(code, err).to.equal(0);
    });
  });

  describe("wrong inputs", () => {
    before(async () => {
      const path = await file("numbers.csv", `n\n${Array.from({ length: 100 }, (_, i) => i).join("\n")}\n`);
      expect((await postern(["dataset", "put", "numbers", path])).code).to.equal(0);
    });

    /** Exactly one sentence on standard error, which names what is wrong. */
    async function refused(args: string[], code: number, words: RegExp, env: NodeJS.ProcessEnv = {}) {
      const outcome = await postern(args, env);
      expect(outcome.code, outcome.err).to.equal(code);
      expect(outcome.err).to.match(words);
      return outcome;
    }

    it("a file that is not JSON: exit 2, with line and column", async () => {
      await refused(["run", await file("broken.json", '{"operators": [\n  {"id": }')], 2, /line 2/);
    });

    it("an unknown operator and a missing column: exit 2, both told at once, and no execution is made", async () => {
      const before = json((await postern(["call", "ExecutionService/ListExecutions", '{"projectId":"dev"}'])).out);
      const wrong = plan(
        { id: "f", type: "filter", properties: { predicate: "m > 3" } },
        { id: "x", type: "filtr", properties: {} },
      );
      await refused(["run", await file("wrong.json", wrong)], 2, /x\.type: [\s\S]*f\.predicate: /);
      const after = json((await postern(["call", "ExecutionService/ListExecutions", '{"projectId":"dev"}'])).out);
      expect(after).to.deep.equal(before);
    });

    it("a dataset of somebody else: exit 2, in the words for one that does not exist", async () => {
      const reading = (dataset: string) => ({
        operators: [{ id: "s", type: "scan", properties: { dataset } }],
        links: [],
      });
      const issuer = await openDevelopmentIssuer(join(dir, "dev"));
      const other = {
        POSTERN_TOKEN: await issuer.mint({
          subject: "other",
          scopes: ["read", "write", "run", "admin"],
          ttlSeconds: 60,
        }),
      };
      const call = (method: string, body: object) => postern(["call", method, JSON.stringify(body)], other);
      expect((await call("AccessService/CreateProject", { projectId: "theirs" })).code).to.equal(0);
      const csv = await file("secret.csv", "a\n1\n");
      expect((await postern(["dataset", "put", "secret", csv, "--project", "theirs"], other)).code).to.equal(0);
      const forbidden = await refused(["plan", await file("a.json", reading("theirs/secret"))], 2, /theirs\/secret/);
      const absent = await refused(["plan", await file("b.json", reading("theirs/absent"))], 2, /theirs\/absent/);
      expect(forbidden.err.replaceAll("secret", "x")).to.equal(absent.err.replaceAll("absent", "x"));
    });

    it("a token that has run out: exit 3", async () => {
      const issuer = await openDevelopmentIssuer(join(dir, "dev"));
      const POSTERN_TOKEN = await issuer.mint({ subject: "developer", scopes: ["read"], ttlSeconds: -10 });
      await refused(["workflow", "list"], 3, /expired|run out|ran out/i, { POSTERN_TOKEN });
    });

    it("the token of another execution: refused as if the execution did not exist", async () => {
      const path = await file("ok.json", plan());
      const put = await postern(["workflow", "put", path]);
      expect(put.code, put.err).to.equal(0);
      const prepare = async () => {
        const request = { projectId: "dev", workflowId: "ok", computingUnitId: "local" };
        return json((await postern(["call", "ExecutionService/PrepareExecution", JSON.stringify(request)])).out);
      };
      const [one, other] = [await prepare(), await prepare()];
      const body = JSON.stringify({ executionId: one.execution.id });
      await refused(["call", "ExecutionService/GetExecution", body], 4, /no execution/, { POSTERN_TOKEN: other.token });
    });

    it("a result directory that cannot be written: exit 1, and the execution is FAILED and says why", async () => {
      const results = join(dir, "dev", "results", "dev");
      await mkdir(results, { recursive: true });
      await rename(results, `${results}-away`);
      await writeFile(results, "a file where a directory should be");
      try {
        const path = await file("unwritable.json", plan({ id: "top", type: "limit", properties: { count: 3 } }));
        await refused(["run", path], 1, /STORAGE_UNWRITABLE/);
        const latest = JSON.stringify({ projectId: "dev", workflowId: "unwritable" });
        const { execution } = json((await postern(["call", "ExecutionService/GetLatestExecution", latest])).out);
        expect(execution.state).to.equal("EXECUTION_STATE_FAILED");
        expect(execution.failure.reason).to.equal("STORAGE_UNWRITABLE");
      } finally {
        await rm(results);
        await rename(`${results}-away`, results);
      }
    });

    it("user code that fails: exit 1, with its own traceback and the failing row", async () => {
      const code = "function processTuple(tuple) {\n  if (tuple.n > 5) throw new Error('too many');\n  return {};\n}";
      const path = await file(
        "throws.json",
        plan({ id: "udf", type: "javascript-function", properties: { code, outputColumns: [] } }),
      );
      await refused(["run", path], 1, /too many[\s\S]*/);
    });
  });
});
