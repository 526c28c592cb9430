import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect } from "chai";
import {
  canWatchTrees,
  createProcessTree,
  type ProcessTree,
  type TreeLimits,
} from "../../src/executor/user-code/process-tree.js";

const AMPLE: TreeLimits = { memoryBytes: 2 ** 40, processes: 1_000, cpus: 100, cpuBurstMs: 1e9 };
const watchable = canWatchTrees() ? "" : " (pending: this system has no /proc)";

describe("the processes of a child", () => {
  let child: ChildProcess;
  let tree: ProcessTree;
  before(function () {
    if (!canWatchTrees()) this.skip();
  });
  afterEach(() => tree?.finish());

  /** Starts a Python program that says a line when it is where it should be. */
  async function start(program: string, limits: Partial<TreeLimits> = {}): Promise<string> {
    child = spawn("python3", ["-u", "-c", program], { detached: true, stdio: ["pipe", "pipe", "inherit"] });
    const own = createProcessTree({ pid: child.pid!, limits: { ...AMPLE, ...limits } });
    child.once("exit", () => own.finish());
    tree = own;
    const line = await new Promise<Buffer>((resolve) => child.stdout!.once("data", resolve));
    return line.toString().trim();
  }

  const stateOf = (pid: number) => {
    try {
      return readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) (\w).*$/s, "$1");
    } catch {
      return "gone";
    }
  };
  const isGone = (pid: number) => ["gone", "Z"].includes(stateOf(pid));
  const until = async (what: string, condition: () => boolean) => {
    for (const end = Date.now() + 10_000; !condition(); ) {
      expect(Date.now(), `waiting for ${what}`).to.be.below(end);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };

  const FAMILY = `
import os, time
def forked(work):
    pid = os.fork()
    if pid == 0:
        work(); os._exit(0)
    return pid
def escape():
    os.setsid()
    print(os.getpid(), forked(lambda: time.sleep(60)))
    time.sleep(60)
forked(escape)
time.sleep(60)`;

  it(`stops all of them where they are, those of another session too, and lets them go on${watchable}`, async () => {
    const escaped = (await start(FAMILY)).split(" ").map(Number);
    tree.pause();
    const all = tree.alive();
    expect(all).to.include.members([child.pid!, ...escaped]);
    expect(new Set(all.map(stateOf))).to.deep.equal(new Set(["T"]));
    tree.resume();
    await until("all to go on", () => all.every((pid) => stateOf(pid) !== "T"));
  });

  it(`stops a process that begets others as fast as it can, and kills it${watchable}`, async () => {
    const bomb = `
import os, time
print("here")
while True:
    if os.fork() == 0:
        time.sleep(0.05); os._exit(0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass`;
    await start(bomb);
    tree.pause();
    const stopped = tree.alive();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(tree.alive(), "no process came or went").to.have.members(stopped);
    tree.kill();
    await until("all to end", () => tree.alive().length === 0);
    expect(stopped.every(isGone)).to.equal(true);
  });

  it(`kills what a child leaves behind when it ends, whatever its session and parent${watchable}`, async () => {
    const leaving = `${FAMILY.replace(/time\.sleep\(60\)$/, "import sys; sys.stdin.read()")}`;
    const escaped = (await start(leaving)).split(" ").map(Number);
    tree.watch();
    await until("a look around", () => tree.cpuMs() > 0);
    child.stdin!.end();
    await until("the child to end", () => child.exitCode !== null);
    await until("the others to end", () => escaped.every(isGone));
  });

  it(`ends a child whose processes use too much memory together, though none does alone${watchable}`, async () => {
    const many = `
import os, time
print("here")
for i in range(6):
    if os.fork() == 0:
        kept = bytearray(os.urandom(1 << 20) * 24)
        time.sleep(60); os._exit(0)
time.sleep(60)`;
    await start(many, { memoryBytes: 96 * 1024 * 1024 });
    tree.watch();
    await until("the limit", () => tree.ended !== undefined);
    expect(tree.ended).to.deep.equal({ limit: "memory" });
    expect(tree.peakMemoryBytes()).to.be.above(96 * 1024 * 1024);
    await until("the end", () => child.signalCode === "SIGKILL" && tree.alive().length === 0);
  });

  it(`counts memory that processes share once${watchable}`, async () => {
    const shared = `
import os, time
kept = bytearray(os.urandom(1 << 20) * 40)
for i in range(5):
    if os.fork() == 0:
        time.sleep(60); os._exit(0)
print("here")
time.sleep(60)`;
    await start(shared, { memoryBytes: 120 * 1024 * 1024 });
    tree.watch();
    await until("a measurement", () => tree.peakMemoryBytes() > 40 * 1024 * 1024);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(tree.ended).to.equal(undefined);
  });

  it(`ends a child with too many processes${watchable}`, async () => {
    const many = `
import os, time
print("here")
for i in range(12):
    if os.fork() == 0:
        time.sleep(60); os._exit(0)
time.sleep(60)`;
    await start(many, { processes: 8 });
    tree.watch();
    await until("the limit", () => tree.ended !== undefined);
    expect(tree.ended).to.deep.equal({ limit: "processes" });
    await until("the end", () => tree.alive().length === 0);
  });

  it(`ends a child that uses more processor time than it may, those of its children counted${watchable}`, async () => {
    const spinning = `
import os
print("here")
if os.fork() == 0:
    while True: pass
os.wait()`;
    await start(spinning, { cpus: 0.1, cpuBurstMs: 300 });
    tree.watch();
    await until("the limit", () => tree.ended !== undefined);
    expect(tree.ended).to.deep.equal({ limit: "cpu" });
    expect(tree.cpuMs()).to.be.at.least(300);
  });

  it(`counts the processor time of children nobody waits for${watchable}`, async () => {
    const careless = `
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("here")
while True:
    if os.fork() == 0:
        end = time.process_time() + 0.4
        while time.process_time() < end: pass
        os._exit(0)
    time.sleep(0.5)`;
    await start(careless, { cpus: 0, cpuBurstMs: 900 });
    tree.watch();
    await until("the limit", () => tree.ended !== undefined);
    expect(tree.ended).to.deep.equal({ limit: "cpu" });
  });

  it(`never signals a process that is not its own${watchable}`, async () => {
    const stranger = spawn("sleep", ["60"], { stdio: "ignore" });
    try {
      await start(FAMILY);
      tree.pause();
      tree.kill();
      await until("the end", () => tree.alive().length === 0);
      expect(stateOf(stranger.pid!)).to.equal("S");
    } finally {
      const ended = new Promise((resolve) => stranger.once("close", resolve));
      stranger.kill("SIGKILL");
      await ended;
    }
  });
});
