// Which way imports may point: the table of docs/architecture.md, held against every file.

import { readdirSync, readFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { expect } from "chai";

const MAY_IMPORT: Record<string, string[]> = {
  contract: [],
  core: [],
  process: ["core"],
  rpc: ["contract", "core", "process"],
  server: ["contract", "core", "process", "rpc"],
  "executor-session": ["contract", "core", "process", "rpc"],
  executor: ["contract", "core", "process", "rpc", "executor-session"],
  cli: ["contract", "core", "process", "rpc", "dev", "conformance"],
  dev: ["contract", "core", "process", "rpc"],
  conformance: ["contract", "core", "process", "rpc"],
};

interface Import {
  file: string;
  from: string;
  to: string;
  dynamic: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const found = [...text.matchAll(/(?:from\s+|(\bimport)\(\s*|\bimport\s+)"([^"]+)"/g)];
  return found.map(([, dynamic, to]) => ({ file, from: file.split("/")[1]!, to: to!, dynamic: dynamic !== undefined }));
}

const files = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.startsWith("contract/"))
  .map((file) => join("src", file));
const all = files.flatMap(importsOf);

/** The folder of `src` a relative import leads to. */
const folderOf = ({ file, to }: Import): string => normalize(join(file, "..", to)).split("/")[1] ?? "";

describe("imports", () => {
  it("reads every file", () => {
    expect(all.length).to.be.greaterThan(500);
    expect([...new Set(all.map(({ from }) => from))]).to.have.members(
      Object.keys(MAY_IMPORT).filter((f) => f !== "contract"),
    );
  });

  it("point only the ways the architecture allows", () => {
    const wrong = all
      .filter(({ to, dynamic }) => to.startsWith(".") && !dynamic)
      .filter((one) => folderOf(one) !== one.from && !MAY_IMPORT[one.from]!.includes(folderOf(one)))
      // Writing the schema snapshot is a tool of the developer that starts a database of its own.
      .filter(({ file, to }) => !(file === "src/dev/write-schema.ts" && to.startsWith("../server/")));
    expect(wrong.map(({ file, to }) => `${file} imports ${to}`)).to.deep.equal([]);
  });

  it("reach server and executor from the command line by dynamic import of their main only", () => {
    const mains = all.filter((one) => one.from === "cli" && ["server", "executor"].includes(folderOf(one)));
    expect(mains.map(({ to }) => to)).to.have.members(["../server/main.js", "../executor/main.js"]);
  });

  it("keep pg and knex to the server and the development tools, which start a database", () => {
    const users = all.filter(({ to }) => /^(pg|knex)(\/|$)/.test(to)).map(({ from }) => from);
    expect([...new Set(users)]).to.have.members(["server", "dev"]);
  });

  it("keep the wire out of core, and clocks and files out of it too", () => {
    const outside = all.filter(
      ({ from, to }) => from === "core" && /^node:(fs|net|http|child_process|timers)/.test(to),
    );
    expect(outside).to.deep.equal([]);
  });

  it("never lead from a repository to a service", () => {
    const wrong = all.filter(({ file, to }) => file.includes("/repositories/") && to.includes("/services/"));
    expect(wrong).to.deep.equal([]);
  });

  it("keep gRPC status numbers to the plumbing: no service, repository or program knows them", () => {
    const users = files.filter((file) => /\bstatus\.[A-Z_]{4,}/.test(readFileSync(file, "utf8")));
    const plumbing = (file: string) =>
      file.startsWith("src/rpc/") || /src\/server\/(?:\w+\/)?(reflection-service|request-log)\.ts$/.test(file);
    expect(users.filter((file) => !plumbing(file))).to.deep.equal([]);
  });
});
