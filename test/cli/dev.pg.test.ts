// `postern dev` as a program, with the command line beside it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { findRunningProcess } from "../../src/dev/running-process.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const CLI = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

interface Ready {
  address: string;
  pids: { postgres: number; server: number; executors: number[] };
}

describe("postern dev", function () {
  this.timeout(60_000);
  let dir: string;
  let child: ChildProcess;
  let ready: Ready;
  before(async () => {
    dir = await makeTestDirectory();
    const args = ["--import", "tsx", CLI, "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--json"];
    child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], env: { PATH: process.env.PATH } });
    const [line] = await once(createInterface({ input: child.stdout! }), "line");
    ready = JSON.parse(line);
  });
  after(async () => {
    if (child.exitCode === null) {
      child.kill("SIGKILL");
      await once(child, "close");
    }
    await removeTestDirectory(dir);
  });
  const run = (...args: string[]) => cli([...args, "--dir", dir], fakeTerminal({ cwd: process.cwd() }));

  it("lets the command line find the server and its token without an option", async () => {
    const { code, out } = await run("call", "AccessService/WhoAmI");
    expect(code).to.equal(0);
    expect(JSON.parse(out)).to.deep.include({ subject: "developer" });
  });

  it("mints tokens for others, which hold no more than they were given", async () => {
    const { out } = await run("token", "--subject", "alice", "--scopes", "read");
    const env = { POSTERN_SERVER: ready.address, POSTERN_TOKEN: out.trim(), POSTERN_PROJECT: "dev" };
    const asAlice = (...args: string[]) => cli(args, fakeTerminal({ env, cwd: dir }));
    expect(JSON.parse((await asAlice("call", "AccessService/WhoAmI")).out)).to.deep.equal({
      subject: "alice",
      scopes: ["SCOPE_READ"],
    });
    expect((await asAlice("call", "AccessService/CreateProject", '{"projectId": "p"}')).code).to.equal(3);
    expect((await asAlice("workflow", "list", "flights")).code).to.equal(4);
  });

  it("finds everything in order, an executor included", async () => {
    const { code, out } = await run("doctor", "--json");
    const { findings } = JSON.parse(out) as { findings: { what: string; verdict: string }[] };
    expect(code, out).to.equal(0);
    const verdict = (what: string) => findings.find((finding) => finding.what === what)?.verdict;
    expect(["server", "release", "token", "computing unit", "clock"].map(verdict)).to.deep.equal(Array(5).fill("ok"));
  });

  it("keeps every secret in a file only its owner can read", async () => {
    const names = ["user.token", "serve.token", "client.json", ...(await pemFiles(join(dir, "keys")))];
    expect(names.length).to.be.above(4);
    for (const name of names) expect((await stat(join(dir, name))).mode & 0o077, name).to.equal(0);
  });

  it("refuses a second one in the same directory, and says which process runs there", async () => {
    const { code, err } = await run("dev");
    expect(code).to.equal(1);
    expect(err).to.contain(`already runs in ${dir} (pid ${child.pid})`);
  });

  it("stops everything at SIGTERM, and the command line says what to do then", async () => {
    child.kill("SIGTERM");
    const [code] = await once(child, "close");
    expect(code).to.equal(0);
    for (const pid of [ready.pids.postgres, ready.pids.server, ...ready.pids.executors])
      expect(await findRunningProcess(pid)).to.equal(undefined);
    const { code: later, err } = await run("workflow", "list");
    expect(later).to.equal(5);
    expect(err).to.contain("postern dev");
  });

  it("ends, with a sentence and leaving nothing, when its Postgres is killed; the next one recovers", async () => {
    const start = async () => {
      const args = ["--import", "tsx", CLI, "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--json"];
      child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env.PATH } });
      let said = "";
      child.stderr!.setEncoding("utf8").on("data", (text: string) => (said += text));
      const [line] = await once(createInterface({ input: child.stdout! }), "line");
      return { pids: (JSON.parse(line) as Ready).pids, said: () => said };
    };
    const { pids, said } = await start();
    process.kill(pids.postgres, "SIGKILL");
    const [code] = await once(child, "close");
    expect(code).to.equal(1);
    expect(said()).to.match(/Postgres \(pid \d+\) has gone/);
    for (const pid of [pids.server, ...pids.executors]) expect(await findRunningProcess(pid)).to.equal(undefined);
    await start();
    expect((await run("call", "AccessService/WhoAmI")).code).to.equal(0);
    child.kill("SIGTERM");
    await once(child, "close");
  });
});

const pemFiles = async (keys: string) =>
  (await readdir(keys)).filter((name) => name.endsWith(".pem")).map((name) => join("keys", name));
