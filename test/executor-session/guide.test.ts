import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { ExecutionSpec, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { startFakeServer } from "../support/fake-server.js";
import { scratch } from "../support/plan-runs.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const isBuilt = existsSync(join(ROOT, "dist/src/executor-session/connect.d.ts"));

/** The first TypeScript of the guide. */
function exampleOf(guide: string): string {
  const [, code] = /^```ts\n(.*?)^```$/ms.exec(readFileSync(join(ROOT, guide), "utf8")) ?? [];
  if (!code) throw new Error(`${guide} shows no TypeScript.`);
  return code;
}

describe(`the guide for executors${isBuilt ? "" : " (pending: run make build)"}`, () => {
  let place: ReturnType<typeof scratch>;
  beforeEach(() => {
    place = scratch();
  });
  afterEach(() => place.remove());

  it("shows a program that compiles in a folder of its own, takes an execution and runs it", async function () {
    if (!isBuilt) this.skip();
    // A project elsewhere that has this one installed.
    mkdirSync(join(place.directory, "node_modules"));
    symlinkSync(ROOT, join(place.directory, "node_modules", "postern"));
    symlinkSync(join(ROOT, "node_modules/@types"), join(place.directory, "node_modules", "@types"));
    writeFileSync(join(place.directory, "package.json"), '{ "type": "module" }');
    writeFileSync(join(place.directory, "counter.ts"), exampleOf("docs/executor-session.md"));
    const options = "--target es2023 --module nodenext --strict --skipLibCheck --types node";
    const compiled = spawnSync(join(ROOT, "node_modules/.bin/tsc"), [...options.split(" "), "counter.ts"], {
      cwd: place.directory,
      encoding: "utf8",
    });
    expect(compiled.stdout + compiled.stderr).to.equal("");

    const server = await startFakeServer();
    const token = join(place.directory, "token");
    writeFileSync(token, "serve-token\n", { mode: 0o600 });
    const program = spawn(process.execPath, [join(place.directory, "counter.js")], {
      env: { PATH: process.env.PATH, POSTERN_SERVER: server.address, POSTERN_TOKEN_FILE: token },
      stdio: ["ignore", "inherit", "inherit"],
    });
    const exited = new Promise<number | null>((resolve) => program.once("exit", resolve));
    try {
      await server.until("its hello", () => server.serveHellos.length === 1);
      server.assign(
        ExecutionSpec.fromPartial({ executionId: "execution-1", attempt: 1, epoch: 1n }),
        "execution-token",
      );
      await server.until("the end of the execution", () => server.manifests.length === 1);
      expect(server.manifests[0]?.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
      expect(server.events).to.have.length(12);
      expect(server.violations).to.deep.equal([]);
      program.kill("SIGTERM");
      expect(await exited).to.equal(0);
    } finally {
      program.kill("SIGKILL");
      await server.close();
    }
  }).timeout(60_000);
});
