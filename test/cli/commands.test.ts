import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { CompileResponse } from "../../src/contract/postern/v1/compile.js";
import { UploadDatasetResponse } from "../../src/contract/postern/v1/dataset.js";
import { GetExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { ReadPortResponse } from "../../src/contract/postern/v1/port_registry.js";
import { AppError, forbidden, notFound, planInvalid } from "../../src/core/app-error.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const EXECUTION_ID = "0198c2f0-0000-7000-8000-000000000001";

describe("command line", () => {
  let server: FakeServer;
  let dir: string;
  let env: NodeJS.ProcessEnv;
  beforeEach(async () => {
    server = await startFakeServer();
    dir = await mkdtemp(join(tmpdir(), "postern-cli-"));
    env = { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t0k3n", POSTERN_PROJECT: "p", POSTERN_COMPUTING_UNIT: "c" };
  });
  afterEach(async () => {
    server.stop();
    await rm(dir, { recursive: true });
  });
  const run = (...args: string[]) => cli(args, fakeTerminal({ env, cwd: dir }));
  const refuse = (error: unknown) => () => {
    throw error;
  };

  describe("exit codes", () => {
    const cases: [title: string, error: AppError, code: number][] = [
      ["2 for bad input", new AppError("invalid", "INVALID_REQUEST", "The name is bad."), 2],
      ["3 without a valid token", new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out."), 3],
      ["3 without the right", forbidden("You may not."), 3],
      ["4 for what is not there", notFound('execution "x"'), 4],
      ["5 for a server that stops", new AppError("unavailable", "DRAINING", "This replica is stopping."), 5],
      ["1 for a conflict of states", new AppError("precondition", "ILLEGAL_TRANSITION", "It has ended."), 1],
    ];
    for (const [title, error, code] of cases)
      it(`are ${title}, with the server's sentence`, async () => {
        server.handlers.getExecution = refuse(error);
        const seen = await run("outputs", EXECUTION_ID);
        expect(seen).to.deep.equal({ code, out: "", err: `error: ${error.message}\n` });
      });

    it("are 5 when nobody listens, and the sentence names the address", async () => {
      server.stop();
      const { code, err } = await run("outputs", EXECUTION_ID);
      expect(code).to.equal(5);
      expect(err).to.contain(server.address);
    });

    it("are 5 when no server is known, and the sentence says how to get one", async () => {
      const { code, err } = await cli(["workflow", "list"], fakeTerminal({ cwd: dir }));
      expect(code).to.equal(5);
      expect(err).to.match(/postern dev.*--server/);
    });

    for (const args of [["bogus"], ["run"], ["show", "x"], ["run", "x", "--limit", "none"], ["--bogus"]])
      it(`are 2 for: postern ${args.join(" ")}`, async () => {
        expect((await run(...args)).code).to.equal(2);
      });

    it("are 0 for help, on standard output, with examples for each command", async () => {
      for (const command of ["run", "watch", "cancel", "outputs", "show", "plan", "call", "token", "doctor", "dev"]) {
        const { code, out, err } = await run(command, "--help");
        expect([code, err]).to.deep.equal([0, ""]);
        expect(out).to.contain("Examples:");
      }
    });
  });

  it("helps with commands within groups, and with groups, with examples", async () => {
    for (const name of ["ls", "explain", "invalidate", "stats", "policy"]) {
      const { code, out, err } = await run("help", "cache", name);
      expect([code, err]).to.deep.equal([0, ""]);
      expect(out).to.contain(`Usage: postern cache ${name}`).and.to.contain("Examples:");
    }
    for (const group of ["cache", "workflow", "dataset"])
      expect((await run("help", group)).out)
        .to.contain(`Usage: postern ${group}`)
        .and.to.contain("Examples:");
    expect((await run("help")).out).to.contain("First steps:");
    expect((await run("cache", "help", "ls")).out).to.contain("Usage: postern cache ls");
  });

  it("knows no help for unknown names, and says what there is", async () => {
    const { code, out, err } = await run("help", "cache", "lss");
    expect([code, out]).to.deep.equal([2, ""]);
    expect(err).to.contain('There is no command "lss" in `postern cache`; did you mean "ls"? There are: ls, ');
    expect((await run("help", "bogus")).code).to.equal(2);
    expect((await run("help", "run", "fast")).code).to.equal(2);
  });

  for (const [args, says] of [
    [["run", "x", "--cache", "maybe"], /--cache <mode>.*Allowed choices are use/],
    [["show", "x"], /missing required argument 'port'/],
    [["cache", "policy", "--ttl", "7"], /--ttl <duration>.*Write a number/],
    [["--bogus"], /unknown option '--bogus'/],
    [["cache"], /Name a command/],
  ] as const)
    it(`prints bad usage as one JSON document with --json: postern ${args.join(" ")}`, async () => {
      const { code, out, err } = await run(...args, "--json");
      expect([code, out]).to.deep.equal([2, ""]);
      const { error } = JSON.parse(err);
      expect(error).to.include({ code: "invalid", reason: "INVALID_REQUEST" });
      expect(error.message).to.match(says);
    });

  it("prints an error as one JSON document with --json", async () => {
    server.handlers.getExecution = refuse(notFound('execution "x"'));
    const { code, err } = await run("outputs", EXECUTION_ID, "--json");
    expect(code).to.equal(4);
    expect(JSON.parse(err)).to.deep.equal({
      error: {
        code: "not-found",
        reason: "NOT_FOUND",
        message: 'There is no execution "x", or you may not see it.',
      },
    });
  });

  it("sends the token of the token file, read anew", async () => {
    let seen: string | undefined;
    server.handlers.whoAmI = (_, token) => {
      seen = token;
      return { subject: "s", scopes: [] };
    };
    await writeFile(join(dir, "token"), "from-file\n");
    await run("call", "AccessService/WhoAmI", "--token-file", "token");
    expect(seen).to.equal("from-file");
  });

  it("prefers options to the environment, and that to client.json", async () => {
    const projects: string[] = [];
    server.handlers.listWorkflows = ({ projectId }) => {
      projects.push(projectId);
      return { workflows: [], nextPageToken: "" };
    };
    const file = { server: server.address, tokenFile: join(dir, "token"), project: "file", computingUnit: "c" };
    await writeFile(join(dir, "client.json"), JSON.stringify(file));
    await writeFile(join(dir, "token"), "t");
    const only = (variables: NodeJS.ProcessEnv, ...args: string[]) =>
      cli(["workflow", "list", "--dir", dir, ...args], fakeTerminal({ env: variables, cwd: dir }));
    await only({});
    await only({ POSTERN_PROJECT: "env" });
    await only({ POSTERN_PROJECT: "env" }, "--project", "option");
    expect(projects).to.deep.equal(["file", "env", "option"]);
  });

  it("lists every finding of the compiler as operator.property: message", async () => {
    server.handlers.prepareExecution = refuse(
      planInvalid([
        { severity: "error", operatorId: "f", property: "predicate", message: 'There is no column "x".' },
        { severity: "warning", operatorId: "", property: "", message: "The plan is empty." },
      ]),
    );
    const { code, err } = await run("run", "stored");
    expect(code).to.equal(2);
    expect(err.split("\n")).to.deep.equal([
      "error: The plan cannot run:",
      '  f.predicate: There is no column "x".',
      "  (warning) plan: The plan is empty.",
      "",
    ]);
  });

  it("says line and column of a workflow file that is not JSON, before it asks the server anything", async () => {
    await writeFile(join(dir, "bad.json"), '{"operators": [\n  {"id": }\n]}');
    const { code, err } = await run("run", "bad.json");
    expect([code, err]).to.deep.equal([2, "error: bad.json is not JSON: a value expected at line 2, column 10.\n"]);
    expect(server.calls).to.deep.equal([]);
  });

  it("says so when the workflow file is not there", async () => {
    const { code, err } = await run("plan", "nowhere.json");
    expect(code).to.equal(2);
    expect(err).to.contain("There is no file nowhere.json");
  });

  it("exits with 2 when a plan has errors, and still prints the JSON document", async () => {
    server.handlers.compile = () =>
      CompileResponse.fromPartial({ diagnostics: [{ severity: 1, operatorId: "a", message: "It is wrong." }] });
    await writeFile(join(dir, "w.json"), '{"operators": []}');
    const { code, out } = await run("plan", "w.json", "--json");
    expect(code).to.equal(2);
    expect(JSON.parse(out).diagnostics[0]).to.include({ operatorId: "a", severity: "SEVERITY_ERROR" });
  });

  it("uploads a file in pieces after its header", async () => {
    const seen: string[] = [];
    server.handlers.uploadDataset = async (pieces) => {
      for await (const { piece } of pieces)
        seen.push(piece.$case === "header" ? `${piece.value.name}/${piece.value.fileName}` : `${piece.value.length}`);
      return UploadDatasetResponse.fromPartial({
        created: true,
        version: { datasetName: "d", version: 1, rowCount: 2n, byteCount: 400_000n },
      });
    };
    await writeFile(join(dir, "d.csv"), "x".repeat(400_000));
    const { code, out } = await run("dataset", "put", "d", "d.csv");
    expect(code).to.equal(0);
    expect(out).to.equal("d version 1: 2 rows, 390.6 KiB stored\n\n");
    expect(seen[0]).to.equal("d/d.csv");
    expect(seen.slice(1).reduce((sum, length) => sum + Number(length), 0)).to.equal(400_000);
  });

  it("tells how many rows of a dataset are malformed, and how it was told to read it", async () => {
    let encoding: string | undefined;
    server.handlers.uploadDataset = async (pieces) => {
      for await (const { piece } of pieces) if (piece?.$case === "header") encoding = piece.value.format?.encoding;
      return UploadDatasetResponse.fromPartial({
        created: true,
        version: { datasetName: "d", version: 1, rowCount: 2n, byteCount: 4n, malformedRowCount: 3n },
      });
    };
    await writeFile(join(dir, "d.csv"), "a\n1\n");
    const { out } = await run("dataset", "put", "d", "d.csv", "--encoding", "latin-1");
    expect(out).to.contain(
      '  3 malformed rows: a scan fails at the first, or leaves them out with "malformedRows": "skip"',
    );
    expect(encoding).to.equal("latin-1");
    expect((await run("dataset", "put", "d", "d.csv", "--encoding", "ebcdic")).err).to.match(
      /Allowed choices are utf-8/,
    );
  });

  it("stops an upload with the server's own sentence when the server refuses it half way", async () => {
    server.handlers.uploadDataset = async (pieces) => {
      for await (const _ of pieces) throw new AppError("exhausted", "STORAGE_FULL", "The disk is full.");
    };
    await writeFile(join(dir, "big.csv"), Buffer.alloc(20_000_000));
    expect(await run("dataset", "put", "d", "big.csv")).to.deep.equal({
      code: 1,
      out: "",
      err: "error: The disk is full.\n",
    });
  });

  it("prints rows as a table, and with --json as objects with 64-bit integers as strings", async () => {
    server.handlers.getExecution = () => GetExecutionResponse.fromPartial({ execution: { id: EXECUTION_ID } });
    server.handlers.readPort = ({ port }) => {
      expect(port.by).to.deep.equal({ $case: "logicalPort", value: { operatorId: "top", portId: 1 } });
      return ReadPortResponse.fromPartial({
        totalRows: 7n,
        schema: {
          attributes: [
            { name: "city", type: 1 },
            { name: "n", type: 3 },
            { name: "at", type: 6 },
          ],
        },
        rows: [
          {
            cells: [
              { value: { $case: "stringValue", value: "Oslo" } },
              { value: { $case: "intValue", value: 9007199254740993n } },
              { value: { $case: "timestampMicros", value: 1_000_000n } },
            ],
          },
          { cells: [{}, {}, {}] },
        ],
      });
    };
    const table = await run("show", EXECUTION_ID, "top:1", "--limit", "2");
    expect(table.out.split("\n")).to.deep.equal([
      "city                 n  at",
      "────  ────────────────  ───────────────────",
      "Oslo  9007199254740993  1970-01-01 00:00:01",
      "∅                    ∅  ∅",
      "rows 1 to 2 of 7",
      "",
    ]);
    const document = JSON.parse((await run("show", EXECUTION_ID, "top:1", "--limit", "2", "--json")).out);
    expect(document.totalRows).to.equal("7");
    expect(document.rows).to.deep.equal([
      { city: "Oslo", n: "9007199254740993", at: "1970-01-01T00:00:01Z" },
      { city: null, n: null, at: null },
    ]);
  });

  it("asks the server for the rows that meet a filter, and shows rows as records where a table would not fit", async () => {
    server.handlers.getExecution = () => GetExecutionResponse.fromPartial({ execution: { id: EXECUTION_ID } });
    const asked: string[] = [];
    server.handlers.readPort = ({ where }) => {
      asked.push(where);
      return ReadPortResponse.fromPartial({
        totalRows: 1n,
        schema: { attributes: [{ name: "city", type: 1 }] },
        rows: [{ cells: [{ value: { $case: "stringValue", value: "Oslo" } }] }],
      });
    };
    const { out } = await run("show", EXECUTION_ID, "top", "--where", "n > 3", "--records");
    expect(asked).to.deep.equal(["n > 3"]);
    expect(out).to.equal("─ row 1 ─\ncity  Oslo\n1 row meeting the filter\n");
  });

  it("reads on when one reply could not hold all rows", async () => {
    server.handlers.getExecution = () => GetExecutionResponse.fromPartial({ execution: { id: EXECUTION_ID } });
    const asked: [bigint, number][] = [];
    server.handlers.readPort = ({ offset, limit }) => {
      asked.push([offset, limit]);
      return ReadPortResponse.fromPartial({ totalRows: 5n, rows: [{ cells: [] }, { cells: [] }] });
    };
    await run("show", EXECUTION_ID, "top", "--offset", "1", "--limit", "100");
    expect(asked).to.deep.equal([
      [1n, 100],
      [3n, 98],
    ]);
  });

  it("shows the claims of a token but never its signature", async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signature = "c2lnbmF0dXJlc2lnbmF0dXJl";
    const token = `${part({ alg: "EdDSA" })}.${part({ sub: "alice", exp: 4_102_444_800 })}.${signature}`;
    const { code, out } = await run("token", "--inspect", token);
    expect(code).to.equal(0);
    expect(out).to.contain("alice").and.to.contain("2100-01-01").and.not.to.contain(signature);
  });

  it("finds out what is wrong with the server, and fails when something is", async () => {
    server.handlers.check = () => ({ status: 2 });
    const { code, out } = await run("doctor", "--json");
    expect(code).to.equal(1);
    const verdict = JSON.parse(out).findings.find(({ what }: { what: string }) => what === "server");
    expect(verdict).to.include({ verdict: "fail" });
    expect(verdict.next).not.to.equal("");
  });
});
