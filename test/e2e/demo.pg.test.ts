// The demo as a newcomer runs it: with an empty environment, in a directory of its own, and interrupted half way.
import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { type ProcessFacts, processesMentioning, processFacts } from "./process-facts.js";

const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const onLinux = process.platform === "linux";

interface Run {
  child: ChildProcess;
  /** Both outputs so far. */
  said(): string;
  /** Resolves once the outputs match. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  ended: Promise<number | NodeJS.Signals | null>;
}

/** Starts the demo with PATH and HOME only. */
function startDemo(dir: string): Run {
  const child = spawn(process.execPath, ["--import", "tsx", CLI, "demo", "--dir", dir], {
    // Pipes to processes that wait for user code are Unix sockets too.
    env: { PATH: process.env.PATH, HOME: "/tmp", POSTERN_SPARE_CHILDREN: "0" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      for (const listener of listeners) listener();
    });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once("close", (code, signal) => resolve(code ?? signal));
  });
  const until = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const found = pattern.exec(said);
        if (found) resolve(found);
        return found !== null;
      };
      if (look()) return;
      listeners.add(look);
      void ended.then(() => look() || reject(new Error(`The demo ended without ${pattern}:\n${said}`)));
    });
  return { child, said: () => said, until, ended };
}

const pidIn = async (run: Run, pattern: RegExp) => Number((await run.until(pattern))[1]);

describe(`postern demo${onLinux ? "" : " (pending: /proc is needed to look into processes)"}`, function () {
  this.timeout(120_000);
  let dir: string;
  before(async function () {
    if (!onLinux) return this.skip();
    dir = await makeTestDirectory();
  });
  after(async () => {
    if (dir) await removeTestDirectory(dir);
  });

  it("gives rows of both runs, and its executor nothing that leads to the database or signs a token", async () => {
    const run = startDemo(dir);
    const [server, executor] = await Promise.all([
      run.until(/server runs on (\S+) \(pid (\d+)\)/),
      pidIn(run, /executor 1 runs \(pid (\d+)\)/),
    ]);
    const idle = await processFacts(executor);
    await run.until(/RUNNING/);
    const busy = await processFacts(executor);
    const secrets = await secretsOf(dir);
    const postgresSocket = await socketDirectoryOf(dir);
    const facts = [idle, busy];
    expect(await run.ended, run.said()).to.equal(0);

    for (const one of facts) {
      expectNoTrace(one, secrets, postgresSocket);
      expect(one.tcpPeers.filter((peer) => peer !== server[1])).to.deep.equal([]);
    }
    expect(idle.tcpPeers).to.deep.equal([server[1]]);
    // Standard input and output are socket pairs of ours; a connection to Postgres would be one more.
    expect(idle.unixSockets.filter((fd) => fd > 1)).to.deep.equal([]);
    expect(run.said().match(/top \(\d+ rows\)/g), run.said()).to.have.length(2);
    expect(run.said()).to.contain("The whole environment of the executor").and.to.contain("no process is left");
    expect(await processesMentioning(dir)).to.deep.equal([]);
  });

  for (const [title, pattern] of [
    ["while Postgres starts", /three processes/],
    ["while the server starts", /Postgres \w+ \(pid/],
    ["while the executor starts", /server runs/],
  ] as const)
    it(`leaves no process behind when Ctrl-C comes ${title}`, () => interrupted(dir, pattern));

  it("leaves no process behind when Ctrl-C comes while the workflow runs", async () => {
    // Where the demo has run before, all of it comes from the cache and nothing runs.
    const fresh = await makeTestDirectory();
    try {
      await interrupted(fresh, /: RUNNING/);
    } finally {
      await removeTestDirectory(fresh);
    }
  });

  it("takes server and executor with it when it is killed with -9", async () => {
    const run = startDemo(dir);
    const server = await pidIn(run, /server runs on \S+ \(pid (\d+)\)/);
    const executor = await pidIn(run, /executor 1 runs \(pid (\d+)\)/);
    run.child.kill("SIGKILL");
    await run.ended;
    await Promise.all([server, executor].map(gone));
  });
});

/** Starts the demo, interrupts it once it has said something, and expects nothing to be left. */
async function interrupted(dir: string, pattern: RegExp): Promise<void> {
  const run = startDemo(dir);
  await run.until(pattern);
  run.child.kill("SIGINT");
  expect(await run.ended, run.said()).to.equal(130);
  expect(run.said()).to.contain("no process is left");
  expect(await processesMentioning(dir)).to.deep.equal([]);
}

/** Contents of every secret of a development directory. */
async function secretsOf(dir: string): Promise<string[]> {
  const names = ["keys/development-issuer.pem", "keys/execution-key.pem", "postgres/postgres.password", "user.token"];
  const texts = await Promise.all(names.map((name) => readFile(join(dir, name), "utf8")));
  return texts.map((text) => text.split("\n").find((line) => line && !line.startsWith("-----"))!);
}

/** Fifth line of the server's pid file. */
async function socketDirectoryOf(dir: string): Promise<string> {
  return (await readFile(join(dir, "postgres", "postmaster.pid"), "utf8")).split("\n")[4]!;
}

function expectNoTrace(facts: ProcessFacts, secrets: string[], postgresSocket: string): void {
  const names = facts.environment.map((entry) => entry.split("=")[0]!).sort();
  expect(names.filter((name) => !name.startsWith("POSTERN_"))).to.deep.equal(["LANG", "PATH", "TZ"]);
  const shown = [...facts.environment, ...facts.commandLine, ...facts.files.map(({ target }) => target)].join("\n");
  expect(shown).not.to.match(
    /DATABASE|PGPASSWORD|postgres:\/\/|\.s\.PGSQL|PRIVATE KEY|execution-key|development-issuer/i,
  );
  for (const secret of [...secrets, postgresSocket]) expect(shown).not.to.contain(secret);
}

/** Resolves once a process has gone; the test's timeout is the limit. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    const state = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "gone Z");
    if (/\) Z|gone Z/.test(state)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
