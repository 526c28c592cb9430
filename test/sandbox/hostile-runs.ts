// Runs hostile functions through the real run, beside a neighbour's run on the same executor, and looks at what is left.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import type { Language } from "../../src/core/plan.js";
import { findUserCodeHost, type HostOptions, type UserCodeHost } from "../../src/executor/user-code/host.js";
import { listProcesses, readFacts } from "../../src/executor/user-code/process-files.js";
import { columns, planOf, scan, userFunction } from "../support/physical-plans.js";
import { ran, rowsOf, scratch, silent } from "../support/plan-runs.js";

export const SECRET = "hunter2-of-the-executor";
const N = columns("n:long");
const V = columns("v:string");
const NEIGHBOUR_ROWS = 3_000;

/** Why Python runs cannot be tried here; empty when they can. */
export const PENDING_PYTHON = pythonIsolates() ? "" : " (pending: this machine has no python3 with user namespaces)";

function pythonIsolates(): boolean {
  try {
    execFileSync("python3", ["--version"], { stdio: "ignore" });
    execFileSync("unshare", ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    return true;
  } catch {
    return false;
  }
}

export interface HostileRun {
  state: string;
  reason: string;
  message: string;
  /** What the function returned for its only row. */
  value: string | undefined;
  /** Everything the run said or stored, as text. */
  everything: string;
}

export interface Place {
  directory: string;
  /** A file only the executor may read, with the secret in it. */
  tokenFile: string;
  host: UserCodeHost;
  /**
   * Runs the function for one row. Fails when the neighbour is harmed, when the secret shows anywhere, or when a
   * process or a directory is left.
   */
  run(language: Language, code: string, host?: UserCodeHost): Promise<HostileRun>;
  hostWith(options: Partial<HostOptions>): Promise<UserCodeHost>;
}

/** Sets up a place for every test of the suite, under mocha's hooks. */
export function hostilePlace(): Place {
  const place = { run, hostWith } as Place;
  let remove = () => {};
  let runs = 0;
  // Shows in the command line of every Python process of this test alone.
  const memoryBytes = 192 * 1024 * 1024 + process.pid;

  before(async function () {
    this.timeout(60_000);
    const made = scratch();
    remove = made.remove;
    place.directory = made.directory;
    place.tokenFile = join(made.directory, "serve.token");
    writeFileSync(place.tokenFile, SECRET, { mode: 0o600 });
    mkdirSync(join(made.directory, "children"), { mode: 0o700 });
    process.env.POSTERN_TEST_SECRET = SECRET;
    place.host = await hostWith({});
    if (PENDING_PYTHON) return;
    // What follows would harm this machine if they did not hold.
    expect(place.host.layers).to.include.members(["private-files", "network-namespace"]);
    expect(place.host.layers.some((layer) => layer === "private-proc" || layer === "no-proc")).to.equal(true);
  });
  after(async () => {
    delete process.env.POSTERN_TEST_SECRET;
    await place.host.close();
    remove();
  });

  function hostWith(options: Partial<HostOptions>) {
    return findUserCodeHost({
      python: "python3",
      policy: "best-effort",
      path: process.env.PATH,
      isRoot: process.getuid?.() === 0,
      memoryBytes,
      directory: join(place.directory, "children"),
      log: silent,
      ...options,
    });
  }

  async function run(language: Language, code: string, host = place.host): Promise<HostileRun> {
    const id = ++runs;
    let ended = false;
    const neighbour = neighbourUntil(() => ended, id);
    const attempt = start(language, code, host, `hostile-${id}`, "n\n1\n").finally(() => {
      ended = true;
    });
    const [{ manifest, state, events, fileOf }] = await Promise.all([attempt, neighbour]);
    const stored = manifest.ports.length > 0 ? await rowsOf(fileOf("f")) : [];
    const shown = (value: unknown) => JSON.stringify(value, (_, v) => (typeof v === "bigint" ? String(v) : v));
    const everything = shown([manifest, events, stored]);
    expect(everything, "the secret").not.to.include(SECRET);
    await expectNothingLeft();
    const { reason = "", message = "" } = manifest.failure ?? {};
    return { state, reason, message, value: stored[0]?.[0] as string | undefined, everything };
  }

  function start(language: Language, code: string, host: UserCodeHost, name: string, csv: string) {
    const directory = join(place.directory, name);
    mkdirSync(directory);
    writeFileSync(join(directory, "in.csv"), csv);
    const input = scan("in", N, { uri: pathToFileURL(join(directory, "in.csv")).href });
    const call = { ...userFunction("f", language, N, code, V), materialized: true };
    const resultPrefix = `${pathToFileURL(join(directory, "results")).href}/`;
    return ran(planOf([input, call], ["in>f"]), { resultPrefix, workDirectory: directory, host });
  }

  /** One run after the other until the hostile one has ended: each must complete with every row right. */
  async function neighbourUntil(ended: () => boolean, id: number): Promise<void> {
    const language = place.host.languages.includes("python") ? "python" : "javascript";
    const code =
      language === "python"
        ? "def process_tuple(t):\n    return {'v': str(t['n'] * 2)}"
        : "function processTuple(t) { return { v: String(t.n * 2) }; }";
    const numbers = Array.from({ length: NEIGHBOUR_ROWS }, (_, n) => n).join("\n");
    let n = 0;
    do {
      const { manifest, fileOf } = await start(language, code, place.host, `neighbour-${id}-${n++}`, `n\n${numbers}\n`);
      expect(manifest.failure?.message ?? "", "the neighbour's run").to.equal("");
      const [[count, sum]] = (await rowsOf(fileOf("f"), "select count(*)::int, sum(v::int)::int from ?")) as [number[]];
      expect([count, sum]).to.deep.equal([NEIGHBOUR_ROWS, NEIGHBOUR_ROWS * (NEIGHBOUR_ROWS - 1)]);
    } while (!ended());
  }

  /** No process of either language, and no directory. */
  async function expectNothingLeft(): Promise<void> {
    for (const until = Date.now() + 5_000; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
      const left = [...childProcesses(), ...readdirSync(join(place.directory, "children"))];
      if (left.length === 0) return;
      expect(Date.now(), `left behind: ${left.join(", ")}`).to.be.below(until);
    }
  }

  function childProcesses(): string[] {
    return (listProcesses() ?? []).flatMap((pid) => {
      const facts = readFacts(pid);
      if (!facts || facts.state === "Z") return [];
      const line = commandLine(pid);
      const isPython = line.includes(` ${memoryBytes} `);
      const isJavascript = facts.parent === process.pid && line.includes("javascript");
      return isPython || isJavascript ? [`process ${pid}: ${line.slice(-120)}`] : [];
    });
  }
  return place;
}

const commandLine = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // gone
  }
};

/**
 * Python that tries each expression, and returns what came of it as JSON: "refused: …" or "gained: …". An expression
 * that gives something empty has gained nothing.
 */
export const tries = (attempts: Record<string, string>, setup = ""): string => `
import ctypes, json, os, signal, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*numbers):
    if libc.syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return "done"
def read(path):
    with open(path, "rb") as file:
        return file.read(200)
def write(path, text="written by user code"):
    with open(path, "w") as file:
        file.write(text)
    return "written"
def run(*command):
    return subprocess.run(command, check=True, capture_output=True, timeout=5).stdout
${setup}
def process_tuple(t):
    outcome = {}
    def attempt(name, what):
        try:
            got = what()
            outcome[name] = "gained: " + repr(got)[:200] if got else "refused: nothing there"
        except BaseException as error:
            outcome[name] = "refused: " + type(error).__name__ + " " + str(error)[:80]
${Object.entries(attempts)
  .map(([name, expression]) => `    attempt(${JSON.stringify(name)}, lambda: ${expression})`)
  .join("\n")}
    return {"v": json.dumps(outcome)}
`;

/** Every try came to nothing, and the run itself is as good as any. */
export function expectNoGain(run: HostileRun): void {
  expect(run.message).to.equal("");
  const outcome = JSON.parse(run.value!) as Record<string, string>;
  expect(Object.keys(outcome)).not.to.deep.equal([]);
  expect(Object.entries(outcome).filter(([, what]) => !what.startsWith("refused: "))).to.deep.equal([]);
}
