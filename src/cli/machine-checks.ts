// What this machine is fit for: simple facts, each found out by trying.
import { execFile } from "node:child_process";
import { stat, statfs } from "node:fs/promises";
import { freemem } from "node:os";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { type Finding, fail, ok, warn } from "./finding.js";
import { executorProgram } from "./programs.js";
import { bytes } from "./text.js";

const MIB = 1024 * 1024;
const run = promisify(execFile);

/** `dir` is where the development stack keeps its data; it need not exist. */
export async function checkMachine(dir: string): Promise<Finding[]> {
  return Promise.all([
    checkNode(process.versions.node),
    checkDuckDb(),
    checkPostgres(),
    checkPython(),
    checkIsolation(),
    checkDisk(dir),
    checkMemory(),
  ]);
}

/** Releases below 20.19 lack what the modules of this project need. */
export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return ok("Node", version);
  return fail("Node", version, "Postern needs Node 20.19 or newer: upgrade it.");
}

async function checkDuckDb(): Promise<Finding> {
  try {
    const { version } = await import("@duckdb/node-api");
    return ok("DuckDB", version());
  } catch (error) {
    return fail(
      "DuckDB",
      (error as Error).message.split("\n")[0]!,
      "Run npm ci on this machine; platform packages cannot be copied from another one.",
    );
  }
}

async function checkPostgres(): Promise<Finding> {
  try {
    const { preparePostgresBinaries } = await import("../dev/postgres-binaries.js");
    const { postgres } = await preparePostgresBinaries(`${process.cwd()}/.postern-doctor-`);
    const { stdout } = await run(postgres, ["--version"], { cwd: "/" });
    return ok("embedded Postgres", stdout.trim());
  } catch (error) {
    return warn(
      "embedded Postgres",
      (error as Error).message.split("\n")[0]!,
      "`postern dev` and `postern demo` need it; a server can use any PostgreSQL by POSTERN_DATABASE_URL.",
    );
  }
}

async function checkPython(): Promise<Finding> {
  const command = process.env.POSTERN_PYTHON ?? "python3";
  try {
    const { stdout, stderr } = await run(command, ["--version"]);
    return ok("Python", (stdout || stderr).trim());
  } catch {
    return warn(
      "Python",
      `${command} cannot be run`,
      "Python user functions need it: install Python 3, or name it in POSTERN_PYTHON.",
    );
  }
}

/** By the code an executor starts with, under the same variables. */
async function checkIsolation(): Promise<Finding> {
  const what = "isolation of user code";
  try {
    const { probeUserCode } = await executorProgram();
    const { languages, layers, missing, pythonRefusal } = await probeUserCode(process.env);
    const found = `${languages.join(" and ")}; ${layers.join(", ")}`;
    if (pythonRefusal !== "") return warn(what, found, pythonRefusal);
    if (missing.length === 0) return ok(what, found);
    const names = missing.map(({ layer }) => layer).join(", ");
    const steps = [...new Set(missing.map(({ next }) => next))].join("; ");
    return warn(what, `${found} (not here: ${names})`, `For more, ${steps}.`);
  } catch (error) {
    return fail(what, (error as Error).message.split("\n")[0]!, "Without it no executor can start here: mend it.");
  }
}

async function checkDisk(dir: string): Promise<Finding> {
  const place = await nearestExisting(dir);
  const { bavail, bsize } = await statfs(place);
  const free = bavail * bsize;
  const found = `${bytes(free)} free at ${place}`;
  if (free < 100 * MIB) return fail("disk", found, "Free some space, or choose another place with --dir.");
  if (free < 1024 * MIB) return warn("disk", found, "Results and Postgres lie there: free some space soon.");
  return ok("disk", found);
}

async function nearestExisting(path: string): Promise<string> {
  for (let place = path; ; place = dirname(place)) {
    if (place === dirname(place) || (await stat(place).catch(() => undefined))?.isDirectory()) return place;
  }
}

function checkMemory(): Finding {
  const free = freemem();
  if (free >= 1024 * MIB) return ok("memory", `${bytes(free)} free`);
  return warn("memory", `${bytes(free)} free`, "An executor takes up to 1 GiB: lower POSTERN_MEMORY_LIMIT_MB.");
}
