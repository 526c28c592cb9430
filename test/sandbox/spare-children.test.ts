import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { expect } from "chai";
import { findUserCodeHost, type UserCodeHost } from "../../src/executor/user-code/host.js";
import { createProcessTree } from "../../src/executor/user-code/process-tree.js";
import { createSpareChildren } from "../../src/executor/user-code/spare-children.js";
import type { StartedChild } from "../../src/executor/user-code/started-child.js";
import { scratch, silent } from "../support/plan-runs.js";
import { until } from "../support/until.js";

const AMPLE = { memoryBytes: 2 ** 40, processes: 1_000, cpus: 100, cpuBurstMs: 1e9 };
const MARK = 128 * 1024 * 1024;

describe("spare children", function () {
  this.timeout(30_000);
  let place: ReturnType<typeof scratch>;
  let host: UserCodeHost | undefined;
  const taken: StartedChild[] = [];
  beforeEach(() => {
    place = scratch();
  });
  afterEach(async () => {
    for (const child of taken.splice(0)) {
      child.tree.kill();
      await child.gone;
    }
    await host?.close();
    host = undefined;
    place.remove();
  });

  const hostWith = async (spareChildren: boolean) => {
    host = await findUserCodeHost({
      python: "python3",
      policy: "best-effort",
      path: process.env.PATH,
      isRoot: process.getuid?.() === 0,
      memoryBytes: 128 * 1024 * 1024,
      directory: place.directory,
      spareChildren,
      log: silent,
    });
    return host;
  };
  const take = async (from: UserCodeHost) => {
    const child = await from.start("javascript", "op");
    taken.push(child);
    return child;
  };

  it("gives each taker a process of its own", async () => {
    const from = await hostWith(true);
    const children = [await take(from), await take(from), await take(from)];
    expect(new Set(children.map(({ process: { pid } }) => pid)).size).to.equal(3);
    expect(new Set(children.map(({ directory }) => directory)).size).to.equal(3);
    for (const { process: child } of children) expect([child.exitCode, child.signalCode]).to.deep.equal([null, null]);
  });

  it("leaves no process and no directory when the executor stops", async () => {
    const from = await hostWith(true);
    const child = await take(from);
    await from.close();
    expect(child.process.signalCode, "a child in use is its taker's").to.equal(null);
    child.process.stdin!.end();
    await child.gone;
    expect(existsSync(child.directory)).to.equal(false);
    expect(child.tree.alive()).to.deep.equal([]);
  });

  it("leaves no process when the executor is killed, where the host lets it die with its parent", async function () {
    const { layers } = await hostWith(false);
    if (!layers.includes("dies-with-executor")) this.skip();
    const source = new URL("../../src/executor/user-code/host.ts", import.meta.url).href;
    const program = `
      const { findUserCodeHost } = await import(${JSON.stringify(source)});
      const log = { warn() {} };
      const directory = ${JSON.stringify(place.directory)};
      const options = { python: "python3", policy: "required", path: process.env.PATH, isRoot: process.getuid() === 0 };
      const host = await findUserCodeHost({ ...options, memoryBytes: ${MARK}, directory, spareChildren: true, log });
      const { process: child } = await host.start("javascript", "op");
      console.log(child.pid);
      setInterval(() => {}, 1000);`;
    const executor = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(executor.stdout!, "data")) as [Buffer];
    const tree = createProcessTree({ pid: executor.pid!, limits: AMPLE });
    const all = tree.alive();
    expect(all).to.include(Number(line));
    executor.kill("SIGKILL");
    for (const until = Date.now() + 10_000; tree.alive().length > 0; ) {
      expect(Date.now(), `still there: ${tree.alive().join(", ")}`).to.be.below(until);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  const fakes = (overrides: Partial<Parameters<typeof createSpareChildren>[0]> = {}) => {
    let started = 0;
    const spares = createSpareChildren({
      languages: ["javascript"],
      start: async () => {
        started++;
        return (await hostWith(false)).start("javascript", "op");
      },
      log: silent,
      ...overrides,
    });
    return { spares, started: () => started };
  };

  it("prepares another when the one that was taken has been done with, and not before", async () => {
    const { spares, started } = fakes();
    const child = await spares.take("javascript");
    taken.push(child);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(started()).to.equal(1);
    child.tree.kill();
    await until(() => started() === 2);
    await spares.close();
  });

  it("prepares another while the one that was taken is long at work, and no second when that has ended", async () => {
    const { spares, started } = fakes({ replaceAtTheLatestMs: 20 });
    const child = await spares.take("javascript");
    taken.push(child);
    await until(() => started() === 2);
    child.tree.kill();
    await child.gone;
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(started()).to.equal(2);
    await spares.close();
  });

  it("keeps none when memory is short, and still starts what is needed", async () => {
    const { spares, started } = fakes({ freeMemory: () => 1024 });
    expect(started()).to.equal(0);
    taken.push(await spares.take("javascript"));
    expect(started()).to.equal(1);
    await spares.close();
  });

  it("starts a fresh one when the spare one has ended meanwhile", async () => {
    const made: StartedChild[] = [];
    const { spares } = fakes({
      start: async () => {
        const child = await (await hostWith(false)).start("javascript", "op");
        made.push(child);
        return child;
      },
    });
    while (made.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    made[0]!.tree.kill();
    await made[0]!.gone;
    taken.push(await spares.take("javascript"));
    expect(made).to.have.length(2);
    expect(taken[0]!.process.pid).to.equal(made[1]!.process.pid);
    await spares.close();
  });

  it("tells whoever needs a child that none can be started, and only logs it for a spare", async () => {
    const { spares } = fakes({ start: () => Promise.reject(new Error("no room")) });
    await new Promise((resolve) => setTimeout(resolve, 20));
    let told = "";
    await spares.take("javascript").catch((error: Error) => {
      told = error.message;
    });
    expect(told).to.equal("no room");
    await spares.close();
  });
});
