// The bench must not rot: its whole way, with the smallest of runs. What it measures here means nothing.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";

const NUMBERS = ["value", "yardstick", "ratio"];

/** Runs the bench as `make bench-stream` does, from the sources. */
function startBench(...args: string[]) {
  const child = spawn(process.execPath, ["--import", "tsx", "bench/stream/main.ts", ...args], { detached: true });
  let [printed, told] = ["", ""];
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  child.stderr.on("data", (chunk) => {
    told += chunk;
  });
  const ended = once(child, "close").then(([status]: (number | null)[]) => ({ status, printed, told }));
  return { child, ended, told: () => told };
}

/** Directories of a process in the temporary directory. */
const directoriesOf = async (pid: number) =>
  (await readdir(tmpdir())).filter((name) => name.startsWith(`postern-test-${pid}-`));

describe("The bench", () => {
  it("prints one JSON line for each figure asked for, and leaves nothing behind", async function () {
    this.timeout(120_000);
    const { child, ended } = startBench("--quick", "--only", "durable-64x8");
    const { status, printed, told } = await ended;
    expect(status, told).to.equal(0);
    const figures = printed
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(figures).to.have.length(1);
    expect(figures[0]).to.include({ figure: "durable-64x8", unit: "events/s", bound: "ratio >= 0.6" });
    expect(figures[0].holds).to.be.a("boolean");
    for (const name of NUMBERS) expect(figures[0][name]).to.be.greaterThan(0);
    expect(await directoriesOf(child.pid!)).to.deep.equal([]);
  });

  it("stops everything it started when it is interrupted", async function () {
    this.timeout(120_000);
    const { child, ended, told } = startBench("--quick", "--seconds", "20", "--only", "durable-64x1");
    while (!told().includes("Postgres (pid ") && child.exitCode === null) await delay(50);
    const postgres = Number(/Postgres \(pid (\d+)/.exec(told())?.[1]);
    child.kill("SIGINT");
    expect((await ended).status, told()).to.equal(130);
    expect(() => process.kill(postgres, 0)).to.throw("ESRCH");
    expect(await directoriesOf(child.pid!)).to.deep.equal([]);
  });

  it("says which figures there are when it does not know the one asked for", async () => {
    const { status, told } = await startBench("--only", "speed").ended;
    expect(status).to.equal(1);
    expect(told).to.include("durable-256x32").and.to.include("--only NAME");
  });
});
