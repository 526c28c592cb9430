import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { cli, fakeTerminal } from "../cli/fake-terminal.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const MINI = `exec node '${join(ROOT, "test/conformance/mini-executor.mjs")}'`;

describe("postern conformance", function () {
  this.timeout(60_000);
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "postern-conformance-test-"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const terminal = () => fakeTerminal({ cwd: directory, env: { PATH: process.env.PATH, POSTERN_TOKEN: "mine" } });
  const play = (command: string, ...more: string[]) =>
    cli(["conformance", "--mode", "single", "--lease", "900", "--executor", command, ...more], terminal());

  it("says of each scenario whether it passed, and sums up", async () => {
    const { code, out } = await play(MINI, "--only", "attach,order");
    expect(out).to.match(/^✓ attach {2}\d+\.\d s\n✓ order {2}\d+\.\d s\npassed: core 2 of 2 \(\d+\.\d s\)\n$/);
    expect(code).to.equal(0);
  });

  it("ends with 1 when a core promise is broken, and says how in one sentence", async () => {
    const { code, out } = await play(`${MINI} credit`, "--only", "credit");
    expect(out).to.match(
      /^✗ credit {2}\d+\.\d s\n {4}Event 8 was sent on stream 1 with a credit of 0: wait .*\.\nfailed: core 0 of 1/,
    );
    expect(code).to.equal(1);
  });

  it("lets a broken recommended promise pass, unless it is asked to be strict", async () => {
    const args = [`${MINI} command`, "--only", "command-twice", "--timeout", "2"];
    const { code, out } = await play(args[0]!, ...args.slice(1));
    expect(out).to.match(/^✗ command-twice \(recommended\)/);
    expect(code).to.equal(0);
    expect((await play(args[0]!, ...args.slice(1), "--strict")).code).to.equal(1);
  });

  it("prints JSON lines for programs", async () => {
    const { out } = await play(MINI, "--only", "order", "--json");
    const [verdict, last, ...more] = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(verdict).to.include({ name: "order", level: "core", passed: true, reason: "" });
    expect(last.summary).to.include({ passed: true });
    expect(last.summary.core).to.deep.equal({ passed: 1, of: 1 });
    expect(more).to.deep.equal([]);
  });

  it("lists the scenarios with what they demand", async () => {
    const { code, out } = await cli(["conformance", "--list", "--core"], terminal());
    expect(out).to.match(/^fenced +core +stops its work after STALE_LEASE in mid-stream, and does not come back$/m);
    expect(out).not.to.match(/recommended/);
    expect(code).to.equal(0);
  });

  const wrong: [what: string, args: string[], message: RegExp][] = [
    ["no executor is named", [], /Name the executor: --executor/],
    ["it knows no such scenario", ["--only", "nope", "--executor", "true"], /no scenario "nope".*attach, order/],
    ["a scenario is of the other mode", ["--mode", "single", "--only", "sigterm"], /No scenario is left: sigterm/],
  ];
  for (const [what, args, message] of wrong)
    it(`says so when ${what}`, async () => {
      const { code, err } = await cli(["conformance", ...args], terminal());
      expect(err).to.match(message);
      expect(code).to.equal(2);
    });

  it("says so when the command does not exist", async () => {
    const { out } = await play("no-such-program", "--only", "attach");
    expect(out).to.match(
      /The command ended with status 127 and did not attach and say Hello; the last line of its errors: .*not found/,
    );
  });

  it("gives the command nothing of its own environment but PATH and HOME", async () => {
    await play(`env > '${directory}/env'; cat "$POSTERN_TOKEN_FILE" > '${directory}/token'`, "--only", "attach");
    const names = readFileSync(join(directory, "env"), "utf8").match(/^\w+(?==)/gm)!;
    const named = ["POSTERN_CONFORMANCE_EVENTS", "POSTERN_SERVER", "POSTERN_SPEC_FILE", "POSTERN_TOKEN_FILE", "TMPDIR"];
    expect(
      names.filter((name) => !["PWD", "OLDPWD", "SHLVL", "_", "PATH", "HOME"].includes(name)).toSorted(),
    ).to.deep.equal(named);
    expect(readFileSync(join(directory, "token"), "utf8")).to.match(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  });

  it("leaves no process of the command and no file behind", async () => {
    const scenarioFolders = () => readdirSync(tmpdir()).filter((name) => /^postern-conformance-(?!test)/.test(name));
    const before = scenarioFolders();
    const stubborn = `trap '' TERM; sleep 600 & echo $! > '${directory}/stray'; ${MINI.replace("exec ", "")}`;
    const { code } = await play(stubborn, "--only", "attach");
    expect(code).to.equal(0);
    expect(isAlive(readFileSync(join(directory, "stray"), "utf8").trim())).to.equal(false);
    expect(scenarioFolders().filter((name) => !before.includes(name))).to.deep.equal([]);
  });

  it("stops everything when it is interrupted", async () => {
    const one = terminal();
    const running = cli(["conformance", "--executor", `echo $$ > '${directory}/pid'; exec sleep 600`], one);
    while (!existsSync(join(directory, "pid"))) await new Promise((resolve) => setTimeout(resolve, 20));
    one.pressCtrlC();
    expect((await running).code).to.equal(130);
    const pid = readFileSync(join(directory, "pid"), "utf8").trim();
    expect(isAlive(pid)).to.equal(false);
  });
});

function isAlive(pid: string): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false; // gone
  }
}
