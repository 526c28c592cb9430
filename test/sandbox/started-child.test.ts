import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { openFiles, readFacts } from "../../src/executor/user-code/process-files.js";
import type { Sandbox } from "../../src/executor/user-code/sandbox.js";
import { startProcess } from "../../src/executor/user-code/started-child.js";
import { scratch } from "../support/plan-runs.js";

const LIMITS = { memoryBytes: 2 ** 40, processes: 1_000, cpus: 100, cpuBurstMs: 1e9 };
/** A host without any layer: what the process tree does, it does alone. */
const BARE: Sandbox = {
  ...{ layers: [], isolated: false, privateFiles: false, user: undefined },
  wrap: ({ command }) => command,
};
const childOf = (command: string[]) => ({
  command,
  readable: [],
  limits: { processes: 64, openFiles: 64, fileBytes: 1024 },
});

describe("a started child", () => {
  let place: ReturnType<typeof scratch>;
  beforeEach(() => {
    place = scratch();
  });
  afterEach(() => place.remove());

  const start = (...command: string[]) =>
    startProcess({ sandbox: BARE, directory: place.directory, limits: LIMITS }, childOf(command));

  it("is gone when the processes it left in sessions of their own are, and its directory", async function () {
    if (process.platform !== "linux") this.skip();
    const child = await start("/bin/sh", "-c", "setsid sleep 600 & echo $!; read end; exit 0");
    child.tree.watch();
    const line = await new Promise<Buffer>((resolve) => child.process.stdout!.once("data", resolve));
    const left = Number(line.toString());
    expect(child.tree.alive()).to.include(left);
    child.process.stdin!.end("\n");
    expect(await child.ended).to.deep.equal({ code: 0, signal: null });
    await child.gone;
    expect(child.tree.alive()).to.deep.equal([]);
    expect(readFacts(left)?.state ?? "gone", "the process it left").to.be.oneOf(["gone", "Z"]);
    expect(existsSync(child.directory)).to.equal(false);
  });

  it("has an empty environment, and tells also whoever asks late how it ended", async () => {
    const child = await start("/usr/bin/env");
    let output = "";
    child.process.stdout!.on("data", (text) => (output += text));
    await child.gone;
    expect(await child.ended).to.deep.equal({ code: 0, signal: null });
    expect(output).to.equal("");
  });

  it("inherits no file that a library of this process has open, and keeps none alive", async function () {
    if (process.platform !== "linux") this.skip();
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const path = join(place.directory, "rows.parquet");
    await connection.run(`copy (from range(1000000)) to '${path}'`);
    const rows = await connection.stream(`from '${path}'`);
    await rows.fetchChunk();
    expect(openFiles().map((descriptor) => readlinkSync(`/proc/self/fd/${descriptor}`))).to.include(path);
    const child = await start("/bin/ls", "-l", "/proc/self/fd");
    let output = "";
    child.process.stdout!.on("data", (text) => (output += text));
    await child.gone;
    connection.closeSync();
    instance.closeSync();
    expect(output).to.contain("3 -> ").and.not.contain(path);
  });

  it("that cannot be started is an error, and leaves no directory", async () => {
    let told: unknown;
    await start("/nowhere/program").catch((error: unknown) => {
      told = error;
    });
    expect(told).to.be.instanceOf(Error);
    expect(readdirSync(place.directory)).to.deep.equal([]);
  });
});
