// Where one scenario plays: a fake server, the user's command connected to it, and one execution given to it.
//
// T1  Waiting ends at the first violation: what comes after one is no news.
// T2  Whatever ends a scenario, afterwards no process of the command, no socket and no file is left.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ExecutionSpec } from "../contract/postern/v1/execution.js";
import { conformanceSpec } from "./conformance-spec.js";
import { type RunningCommand, startCommand } from "./executor-command.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { LINES, type Scenario, Unmet } from "./scenario.js";
import { type ThrowAwayTokens, throwAwayTokens } from "./throw-away-tokens.js";

/** `pool`: the command serves a computing unit and is given the execution. `single`: it gets the execution as a file. */
export type Mode = "pool" | "single";

export interface StageOptions {
  /** The user's command, for the shell. */
  command: string;
  mode: Mode;
  leaseMs: number;
  /** How long one scenario may take. */
  timeoutMs: number;
  /** What the command's environment starts from: PATH and HOME are taken. */
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Gets what the command writes. */
  onOutput(text: string): void;
  /** Aborts when the user has had enough. */
  signal: AbortSignal;
}

export interface Stage {
  readonly server: FakeServer;
  readonly executor: RunningCommand;
  readonly spec: ExecutionSpec;
  readonly tokens: ThrowAwayTokens;
  readonly mode: Mode;
  readonly leaseMs: number;
  /** Events the executor was asked for. */
  readonly lines: number;
  /** Hands the execution to a pooled executor. */
  assign(): Promise<void>;
  /**
   * Waits until the executor has done something (`deed`, as in "attach again"); rejects with Unmet when it does not, within
   * the scenario's time or `withinMs`, when it breaks a rule, or when its command ends, unless it `mayEnd`.
   */
  until(deed: string, done: () => boolean, more?: { withinMs?: number; mayEnd?: boolean }): Promise<void>;
  /** Lets time pass in which the executor must break no rule. */
  pause(ms: number, more?: { mayEnd?: boolean }): Promise<void>;
}

/** How long frames of a command that has ended may still be on their way. */
const LAST_FRAMES_MS = 200;

/** Plays one scenario; rejects with Unmet when the executor does not keep the promise. */
export async function playOnStage(scenario: Scenario, options: StageOptions): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "postern-conformance-"));
  const timeout = AbortSignal.timeout(options.timeoutMs);
  let server: FakeServer | undefined;
  let executor: RunningCommand | undefined;
  try {
    const tokens = await throwAwayTokens();
    server = await startFakeServer({
      ...scenario.faults?.(),
      leaseMs: options.leaseMs,
      checkToken: (token, of) => tokens.refusalOf(token, of === "attach" ? "execution" : "serve"),
    });
    const lines = scenario.lines ?? LINES;
    const spec = conformanceSpec(lines, options.leaseMs, `${pathToFileURL(join(directory, "results")).href}/`);
    const mintToken = async () => (await tokens.mint("execution", scenario.tokenSeconds)).token;
    const env = await environmentFor({ options, directory, server, spec, mintToken, tokens, lines });
    const look = createLookout(server);
    executor = startCommand({ ...options, env, onEnd: look.now });
    const { until, pause } = waiting({ server, executor, options, timeout, look });
    let token: string | undefined;
    const assign = async () => {
      token ??= await mintToken();
      server!.assign(spec, token);
    };
    const stage = {
      server,
      executor,
      spec,
      tokens,
      mode: options.mode,
      leaseMs: options.leaseMs,
      lines,
      assign,
      until,
      pause,
    };
    if (options.mode === "pool") {
      await until("connect to POSTERN_SERVER and say ServeHello", () => server!.serveHellos.length > 0);
      if (scenario.assigned !== false) await assign();
    }
    await scenario.play(stage);
  } finally {
    await executor?.stop();
    await server?.close();
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function environmentFor(of: {
  options: StageOptions;
  directory: string;
  server: FakeServer;
  spec: ExecutionSpec;
  mintToken(): Promise<string>;
  tokens: ThrowAwayTokens;
  lines: number;
}): Promise<NodeJS.ProcessEnv> {
  const { options, directory, server, spec, tokens } = of;
  const tokenFile = join(directory, "token");
  const token = options.mode === "pool" ? (await tokens.mint("serve")).token : await of.mintToken();
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
  const temporary = join(directory, "tmp");
  await mkdir(temporary);
  const env: NodeJS.ProcessEnv = {
    PATH: options.env.PATH,
    HOME: options.env.HOME,
    // What a killed executor leaves among the temporary files goes with the scenario's own.
    TMPDIR: temporary,
    POSTERN_SERVER: server.address,
    POSTERN_TOKEN_FILE: tokenFile,
    POSTERN_CONFORMANCE_EVENTS: String(of.lines),
  };
  if (options.mode === "pool") return env;
  const specFile = join(directory, "spec.json");
  await writeFile(specFile, JSON.stringify(ExecutionSpec.toJSON(spec)));
  return { ...env, POSTERN_SPEC_FILE: specFile };
}

/** Whoever waits is told of everything that happens, to the server or to the command. */
function createLookout(server: FakeServer) {
  const lookers = new Set<() => void>();
  const now = () => {
    for (const look of [...lookers]) look();
  };
  server.onChange(now);
  return { lookers, now };
}

function waiting(deps: {
  server: FakeServer;
  executor: RunningCommand;
  options: StageOptions;
  timeout: AbortSignal;
  look: ReturnType<typeof createLookout>;
}): Pick<Stage, "until" | "pause"> {
  const { server, executor, options, timeout, look } = deps;

  /** Resolves with true when `done`, with false after `ms`. */
  function wait(done: () => boolean, ms: number | undefined, deed: string, mayEnd: boolean): Promise<boolean> {
    const timers: NodeJS.Timeout[] = [];
    let settle = (_: () => void) => {};
    const waited = new Promise<boolean>((resolve, reject) => {
      settle = (how) => how();
      const fail = (why: unknown) => settle(() => reject(why));
      const check = () => {
        const [violation] = server.violations;
        if (violation) fail(new Unmet(violation));
        else if (done()) settle(() => resolve(true));
        else if (options.signal.aborted) fail(options.signal.reason);
        else if (timeout.aborted) fail(new Unmet(`In ${seconds(options.timeoutMs)} the executor did not ${deed}.`));
        else if (executor.ending !== undefined && !mayEnd && timers.length < 2)
          timers[1] = setTimeout(() => fail(new Unmet(endedEarly(executor, deed))), LAST_FRAMES_MS);
      };
      timers[0] = setTimeout(() => settle(() => resolve(false)), ms ?? options.timeoutMs + 1_000);
      look.lookers.add(check);
      for (const signal of [timeout, options.signal]) signal.addEventListener("abort", check);
      settle = (how) => {
        for (const timer of timers) clearTimeout(timer);
        look.lookers.delete(check);
        for (const signal of [timeout, options.signal]) signal.removeEventListener("abort", check);
        how();
      };
      check();
    });
    return waited;
  }

  return {
    async until(deed, done, { withinMs, mayEnd = false } = {}) {
      if (await wait(done, withinMs, deed, mayEnd)) return;
      throw new Unmet(`Within ${seconds(withinMs ?? options.timeoutMs)} the executor did not ${deed}.`);
    },
    async pause(ms, { mayEnd = false } = {}) {
      await wait(() => false, ms, "go on as it should", mayEnd);
    },
  };
}

function endedEarly(executor: RunningCommand, deed: string): string {
  const words = executor.lastWords();
  return `The command ${executor.ending} and did not ${deed}${words ? `; the last line of its errors: ${words}` : ""}.`;
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1).replace(/\.0$/, "")} s`;
