import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect } from "chai";
import { ExecutionSpec } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import { readExecutorConfig } from "../../src/executor/config.js";
import { type FakeServer, type FakeServerOptions, startFakeServer } from "../support/fake-server.js";
import { columns, type OperatorDraft, planOf, query, scan, specOf, userFunction } from "../support/physical-plans.js";
import { scratch } from "../support/plan-runs.js";

const N = columns("n:long");
const MAIN = new URL("../../src/executor/main.ts", import.meta.url).href;
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const MOUNT = ["--user", "--map-root-user", "--mount", "sh", "-c"];
const CAN_MOUNT = spawnSync("unshare", [...MOUNT, "mount -t tmpfs none /mnt"]).status === 0;
const noMount = CAN_MOUNT ? "" : " (pending: this machine lets nobody mount a small disk)";

describe("the executor program", () => {
  let place: ReturnType<typeof scratch>;
  let server: FakeServer;
  let child: ChildProcess | undefined;
  beforeEach(() => {
    place = scratch();
    writeFileSync(join(place.directory, "n.csv"), "n\n1\n2\n3\n");
    writeFileSync(join(place.directory, "token"), "the-secret-token\n", { mode: 0o600 });
    mkdirSync(join(place.directory, "work"));
    child = undefined;
  });
  afterEach(async () => {
    if (child && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child!.once("close", resolve));
      child.kill("SIGKILL");
      await gone;
    }
    await server.close();
    place.remove();
  });

  const numbers = () => scan("s", N, { uri: pathToFileURL(join(place.directory, "n.csv")).href });
  const specFor = (last: OperatorDraft, results = "results") =>
    specOf(
      planOf([numbers(), { ...last, materialized: true }], [`s>${last.id}`]),
      `${pathToFileURL(join(place.directory, results)).href}/1/`,
    );
  const environment = () => ({
    PATH: process.env.PATH,
    POSTERN_SERVER: server.address,
    POSTERN_TOKEN_FILE: join(place.directory, "token"),
    POSTERN_WORK_DIR: join(place.directory, "work"),
    POSTERN_LOG_LEVEL: "warn",
    POSTERN_THREADS: "1",
  });

  /** Starts the program, under `wrapper` if one is given; resolves with how it ended. */
  function start(env: NodeJS.ProcessEnv, wrapper: string[] = []) {
    const program = `await (await import(${JSON.stringify(MAIN)})).main()`;
    const command = [...wrapper, process.execPath, "--import", "tsx", "--input-type=module", "-e", program];
    child = spawn(command[0]!, command.slice(1), { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
    const said = { stdout: "", stderr: "" };
    child.stdout!.on("data", (text) => (said.stdout += text));
    child.stderr!.on("data", (text) => (said.stderr += text));
    const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
      child!.once("close", (code) => resolve({ code, ...said })),
    );
    return { pid: child.pid!, ended, said };
  }
  async function runSpec(spec: ExecutionSpec, wrapper?: string[], options: FakeServerOptions = {}) {
    server = await startFakeServer(options);
    const file = join(place.directory, "spec.json");
    writeFileSync(file, JSON.stringify(ExecutionSpec.toJSON(spec)));
    return start({ ...environment(), POSTERN_SPEC_FILE: file }, wrapper).ended;
  }

  it("serves its computing unit until SIGTERM, with nothing secret in its environment or command line", async () => {
    server = await startFakeServer();
    const { pid, ended, said } = start(environment());
    await server.until("its hello", () => server.serveHellos.length === 1);
    server.assign(
      specFor(userFunction("f", "javascript", N, "function processTuple(t) { return t; }", N)),
      "execution-token",
    );
    await server.until("the end of the execution", () => server.manifests.length === 1);
    expect(server.manifests[0]?.failure).to.equal(undefined);
    expect(server.tokens).to.deep.equal(["the-secret-token", "execution-token"]);
    for (const what of ["environ", "cmdline"])
      expect(readFileSync(`/proc/${pid}/${what}`, "utf8")).not.to.match(/secret-token|execution-token|postgres/);
    process.kill(pid, "SIGTERM");
    const { code } = await ended;
    expect(code).to.equal(0);
    const [ready, ...more] = said.stdout.trim().split("\n");
    expect(JSON.parse(ready!)).to.deep.equal({
      ready: true,
      executorId: server.serveHellos[0]?.executorId,
      computingUnitId: "unit",
    });
    expect(more).to.deep.equal([]);
    expect(readdirSync(join(place.directory, "work"))).to.deep.equal([]);
  });

  it("runs the one execution it is given as a file, and ends", async () => {
    const { code } = await runSpec(specFor(query("q", "filter", [N], "select * from input0 where n > 1", N)));
    expect(code).to.equal(0);
    expect(server.manifests[0]?.ports[0]?.rowCount).to.equal(2n);
    expect(server.serveHellos).to.deep.equal([]);
    expect(readdirSync(join(place.directory, "work"))).to.deep.equal([]);
  });

  it("ends with another code when that execution fails", async () => {
    const { code } = await runSpec(specFor(query("q", "filter", [N], "select error('no') from input0", N)));
    expect(code).to.equal(4);
    expect(server.manifests[0]?.failure?.reason).to.equal("QUERY_FAILED");
  });

  it("says in one sentence that the server refuses it", async () => {
    const refusal = new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out; get a new one.");
    const { code, stderr } = await runSpec(specFor(query("q", "filter", [N], "select * from input0", N)), [], {
      onHello: () => refusal,
    });
    expect(code).to.equal(3);
    expect(stderr).to.match(/^The server refuses this executor: The token has run out; get a new one\.$/m);
  });

  it("leaves no process of user code behind when it is killed", async () => {
    server = await startFakeServer();
    const { pid, ended } = start(environment());
    await server.until("its hello", () => server.serveHellos.length === 1);
    const layers = server.serveHellos[0]!.sandboxLayers;
    server.assign(specFor(userFunction("f", "javascript", N, "function processTuple(t) { for (;;) {} }", N)), "t");
    await server.until("the loop to run", () => server.events.length > 3);
    const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    while (children().length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const [userCode] = children();
    process.kill(pid, "SIGKILL");
    await ended;
    const isAlive = () => !/^State:\tZ/m.test(statusOf(userCode!)) && statusOf(userCode!) !== "";
    if (layers.includes("dies-with-executor"))
      while (isAlive()) await new Promise((resolve) => setTimeout(resolve, 20));
    else process.kill(-Number(userCode), "SIGKILL");
  });

  it(`says that storage is full, and leaves no half-written result${noMount}`, async function () {
    if (!CAN_MOUNT) this.skip();
    const disk = join(place.directory, "small");
    mkdirSync(disk);
    const script = `mount -t tmpfs -o size=1m none '${disk}' && "$@"; code=$?; ls -A '${disk}/1' >&2; exit $code`;
    const big = query("big", "derive", [N], "select cast(random() * 1e15 as bigint) from range(3000000)", N);
    const { code, stderr } = await runSpec(specFor(big, "small"), ["unshare", ...MOUNT, script, "sh"]);
    const [manifest] = server.manifests;
    expect(manifest?.failure).to.include({ reason: "STORAGE_FULL", operatorId: "big" });
    expect(manifest?.failure?.message).to.match(
      /^There is no room left to write .*small\/1\/big\.main\.0\.parquet; free space/,
    );
    expect(manifest?.ports).to.deep.equal([]);
    expect(code).to.equal(4);
    expect(stderr).not.to.match(/\.parquet$|\.tmp$/m);
  });

  it(`says that storage is read-only${noMount}`, async function () {
    if (!CAN_MOUNT) this.skip();
    const disk = join(place.directory, "frozen");
    mkdirSync(disk);
    const script = `mount -t tmpfs -o ro none '${disk}' && exec "$@"`;
    const spec = specFor(query("q", "filter", [N], "select * from input0", N), "frozen");
    await runSpec(spec, ["unshare", ...MOUNT, script, "sh"]);
    expect(server.manifests[0]?.failure?.reason).to.equal("STORAGE_UNWRITABLE");
    expect(server.manifests[0]?.failure?.message).to.match(
      /cannot write .*frozen\/1\/?: the file system is read-only; /,
    );
  });
});

const statusOf = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return ""; // gone
  }
};

describe("the executor's configuration", () => {
  let place: ReturnType<typeof scratch>;
  beforeEach(() => {
    place = scratch();
  });
  afterEach(() => place.remove());

  const variables = () => {
    const token = join(place.directory, "token");
    writeFileSync(token, "t", { mode: 0o600 });
    return { POSTERN_SERVER: "127.0.0.1:7700", POSTERN_TOKEN_FILE: token };
  };

  it("needs a server and a token file, and has a default for everything else", () => {
    const config = readExecutorConfig(variables());
    expect(config).to.include({
      slots: 1,
      memoryLimitMb: 1_024,
      python: "python3",
      sandbox: "required",
      spareChildren: true,
      logLevel: "info",
    });
    expect(config).to.include({ spillMb: 0, cancelGraceMs: 100, tempMaxMb: undefined });
    expect(config.servers).to.deep.equal([{ address: "127.0.0.1:7700", tls: undefined }]);
    expect(config.labels).to.deep.equal({});
    expect(config.executorId).to.match(/^executor-/);
  });

  it("takes several servers, and labels", () => {
    const env = { ...variables(), POSTERN_SERVER: "a:1, b:2", POSTERN_LABELS: "zone=a,gpu=no" };
    const config = readExecutorConfig(env);
    expect(config.servers.map(({ address }) => address)).to.deep.equal(["a:1", "b:2"]);
    expect(config.labels).to.deep.equal({ zone: "a", gpu: "no" });
  });

  const wrong: [string, NodeJS.ProcessEnv, RegExp][] = [
    ["no server", { POSTERN_SERVER: "" }, /POSTERN_SERVER is not set/],
    ["a server without a port", { POSTERN_SERVER: "somewhere" }, /POSTERN_SERVER is "somewhere"/],
    ["an empty place among the servers", { POSTERN_SERVER: "a:1,,b:2" }, /POSTERN_SERVER is "a:1,,b:2"/],
    ["labels that are no pairs", { POSTERN_LABELS: "zone" }, /POSTERN_LABELS is "zone".*zone=a,gpu=no/],
    ["no token file", { POSTERN_TOKEN_FILE: "" }, /POSTERN_TOKEN_FILE is not set/],
    ["a token file that is not there", { POSTERN_TOKEN_FILE: "/nowhere" }, /POSTERN_TOKEN_FILE names \/nowhere/],
    ["slots that are no number", { POSTERN_SLOTS: "many" }, /POSTERN_SLOTS is "many"/],
    ["a sandbox it does not know", { POSTERN_SANDBOX: "none" }, /POSTERN_SANDBOX is "none".*best-effort, required/],
    ["an id that is no name", { POSTERN_EXECUTOR_ID: "a b" }, /POSTERN_EXECUTOR_ID must be/],
  ];
  for (const [what, env, message] of wrong)
    it(`names the variable when it finds ${what}`, () => {
      expect(() => readExecutorConfig({ ...variables(), ...env })).to.throw(AppError, message);
    });

  it("refuses a token file that others can read", () => {
    const env = variables();
    chmodSync(env.POSTERN_TOKEN_FILE, 0o644);
    expect(() => readExecutorConfig(env)).to.throw(AppError, /POSTERN_TOKEN_FILE names .*chmod 600/);
  });
});
