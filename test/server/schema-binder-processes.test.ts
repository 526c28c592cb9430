import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { startBindingChild } from "../../src/server/binding/binding-child.js";
import { planCompiler } from "../../src/server/binding/plan-compiler.js";
import { createSchemaBinder } from "../../src/server/binding/schema-binder.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

/** DuckDB binds this in time that doubles with each level, and hears no interrupt meanwhile. */
const nested = (levels: number) => `${"list_transform([1], x -> ".repeat(levels)}1${")".repeat(levels)}`;
const endless = { inputs: [], expressions: [], statements: [], sql: `select ${nested(60)} as l` };
const quick = { inputs: [], expressions: [], statements: [], sql: "select 1 as one" };
const limits = { timeoutMs: 400, startMs: 20_000 };

describe("the processes that check expressions", () => {
  it("are killed when a request needs too much memory, which DuckDB does not count", async () => {
    const binder = await createSchemaBinder({ ...limits, timeoutMs: 30_000 });
    try {
      const expressions = [{ path: "e", sql: "strptime('', repeat('x', 1500000000))" }];
      const answer = await binder.bindSchemas({ ...quick, inputs: [[{ name: "n", type: "long" }]], expressions });
      expect(answer)
        .to.have.nested.property("findings[0].message")
        .that.equals("Checking this operator takes too much memory; simplify its expressions.");
      expect((await binder.bindSchemas(quick)).ok).to.equal(true);
    } finally {
      await binder.close();
    }
  }).timeout(40_000);

  it("are killed when a request takes too long; it is told so, and those behind it are answered", async () => {
    const binder = await createSchemaBinder(limits);
    try {
      const answers = await Promise.all(
        [endless, endless, endless, quick, quick].map((one) => binder.bindSchemas(one)),
      );
      expect(answers.map((answer) => answer.ok)).to.deep.equal([false, false, false, true, true]);
      const [first] = answers;
      expect(first)
        .to.have.nested.property("findings[0].message")
        .that.matches(/takes too long/);
    } finally {
      await binder.close();
    }
  });

  it("find nothing of the server's environment, and no open file of its", async function () {
    if (process.platform !== "linux") return this.skip();
    const child = startBindingChild(limits);
    await child.ready;
    const environment = readFileSync(`/proc/${child.pid}/environ`, "latin1").split("\0").filter(Boolean);
    expect(environment.filter((one) => !one.startsWith("NODE_CHANNEL_"))).to.deep.equal([]);
    child.kill();
    await child.ended;
  });

  it("are replaced when one crashes: the request under way fails once, and the next is answered", async () => {
    const started: ReturnType<typeof startBindingChild>[] = [];
    const binder = await createSchemaBinder({
      ...limits,
      startChild: (how) => {
        const child = startBindingChild(how);
        started.push(child);
        return child;
      },
    });
    try {
      const failing = rejection(binder.bindSchemas(endless));
      process.kill(started[0]!.pid!, "SIGKILL");
      expect((await failing).message).to.match(/signal SIGKILL/);
      expect((await binder.bindSchemas(quick)).ok).to.equal(true);
      expect(started).to.have.lengthOf(2);
    } finally {
      await binder.close();
    }
  });

  it("leave with the binder, and refuse what waits", async () => {
    const binder = await createSchemaBinder(limits);
    const waiting = Array.from({ length: 4 }, () => rejection(binder.bindSchemas(endless)));
    await binder.close();
    for (const refusal of await Promise.all(waiting)) expect(refusal).to.include({ code: "unavailable" });
  });

  it("can be waited for by a program that has nothing else to wait for", async () => {
    const module = new URL("../../src/server/binding/schema-binder.ts", import.meta.url).href;
    const program = `const { createSchemaBinder } = await import(${JSON.stringify(module)});
      const binder = await createSchemaBinder();
      await binder.bindSchemas({ inputs: [], expressions: [], statements: [], sql: "select 1 as one" });
      await binder.close();
      process.stdout.write("closed");`;
    const directory = await makeTestDirectory();
    try {
      const file = join(directory, "program.mjs");
      await writeFile(file, program);
      const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", file]);
      expect(stdout).to.equal("closed");
    } finally {
      await removeTestDirectory(directory);
    }
  }).timeout(40_000);

  it("let a caller go whose signal aborts", async () => {
    const binder = await createSchemaBinder(limits);
    const leaving = new AbortController();
    const asked = rejection(binder.bindSchemas(endless, leaving.signal));
    leaving.abort(new Error("gone"));
    expect((await asked).message).to.equal("gone");
    await binder.close();
  });
});

describe("the compiler's limits", () => {
  const scan = {
    datasetId: "d",
    datasetName: "d",
    version: 1,
    contentHash: "0".repeat(64),
    uri: "file:///d.csv",
    format: { kind: "csv" as const, delimiter: ",", header: true, encoding: "" as const },
    rowCount: 1n,
    byteCount: 1n,
    fileSchema: [{ name: "a", type: "long" as const }],
    offset: 0n,
    limit: undefined,
    malformedRows: "fail" as const,
  };
  const operator = (id: string, type: string, properties: object) => ({
    id,
    type,
    properties: properties as never,
    displayName: "",
    disabled: false,
    viewResult: false,
  });
  const plan = {
    operators: [operator("s", "scan", { dataset: "d" }), operator("f", "filter", { predicate: "a > 1" })],
    links: [{ from: "s", fromPort: 0, to: "f", toPort: 0 }],
  };
  const untilAborted = (_: unknown, signal?: AbortSignal) =>
    new Promise<never>((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));

  it("end a compilation at its deadline with a finding, and at once when the caller goes", async () => {
    const compile = planCompiler({ bindSchemas: untilAborted, deadlineMs: 50 });
    const late = await compile(plan, async () => scan, new AbortController().signal);
    expect(late.diagnostics[0]?.message).to.match(/too long/);
    const patient = planCompiler({ bindSchemas: untilAborted, deadlineMs: 60_000 });
    const leaving = new AbortController();
    const asked = rejection(patient(plan, async () => scan, leaving.signal));
    setTimeout(() => leaving.abort(new Error("gone")), 20);
    expect((await asked).message).to.equal("gone");
  });

  it("refuse a plan that would not fit into a message to an executor", async () => {
    const binder = await createSchemaBinder();
    const compile = planCompiler({ bindSchemas: binder.bindSchemas, planBytes: 200 });
    const large = await compile(plan, async () => scan, new AbortController().signal);
    expect(large.ok).to.equal(false);
    expect(large.diagnostics[0]!.message).to.match(/bytes, and at most 200/);
    await binder.close();
  });
});
