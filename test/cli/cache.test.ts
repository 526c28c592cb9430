import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  type CachePolicy,
  ExplainMissResponse,
  GetCacheStatisticsResponse,
  InvalidateResponse,
  ListEntriesResponse,
} from "../../src/contract/postern/v1/cache.js";
import { CompileResponse } from "../../src/contract/postern/v1/compile.js";
import { ResolveDatasetResponse } from "../../src/contract/postern/v1/dataset.js";
import { invalid, notFound } from "../../src/core/app-error.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const portId = (operator: string, port = 0) =>
  `(logicalOpId=${operator},layerName=main,portId=${port},isInternal=false,isInput=false)`;
const entry = (operator: string, more: object = {}) => ({
  globalPortId: portId(operator),
  operatorType: "aggregate",
  subdagHash: "0123456789abcdef",
  tupleCount: 1234n,
  byteCount: 2048n,
  computeMs: 2500n,
  hitCount: 3n,
  lastUsedAt: new Date("2026-01-02T03:04:05Z"),
  sourceExecutionId: "e1",
  ...more,
});

describe("postern cache", () => {
  let server: FakeServer;
  let dir: string;
  beforeEach(async () => {
    server = await startFakeServer();
    dir = await mkdtemp(join(tmpdir(), "postern-cache-"));
  });
  afterEach(async () => {
    server.stop();
    await rm(dir, { recursive: true });
  });
  const run = (...args: string[]) =>
    cli(
      args,
      fakeTerminal({
        cwd: dir,
        env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p", POSTERN_COMPUTING_UNIT: "c" },
      }),
    );
  /** Keeps what a method is asked, and answers. */
  const answering = <Request>(method: string, answer: (request: Request) => unknown): Request[] => {
    const asked: Request[] = [];
    server.handlers[method] = (request: Request) => {
      asked.push(request);
      return answer(request);
    };
    return asked;
  };

  it("explains each of its commands with examples", async () => {
    for (const command of ["ls", "explain", "invalidate", "stats", "policy"]) {
      const { code, out } = await run("cache", command, "--help");
      expect(code).to.equal(0);
      expect(out).to.contain("Examples:").and.to.contain(`postern cache ${command}`);
    }
  });

  it("lists every page of what is remembered of a workflow", async () => {
    const asked = answering<{ pageToken: string }>("listEntries", ({ pageToken }) =>
      ListEntriesResponse.fromPartial(
        pageToken === ""
          ? { entries: [entry("top")], nextPageToken: "2" }
          : { entries: [entry("all", { hitCount: 0n })] },
      ),
    );
    const { code, out } = await run("cache", "ls", "sales");
    expect(code).to.equal(0);
    expect(asked).to.have.length(2);
    expect(asked[0]).to.deep.include({ projectId: "p", workflowId: "sales" });
    expect(out).to.match(
      /^top {3}aggregate {2}0123456789ab {2}1,234 {2}2\.0 KiB {2}2\.5 s +3 {2}2026-01-02 03:04:05 {2}e1$/m,
    );
    const { entries } = JSON.parse((await run("cache", "ls", "sales", "--json")).out);
    expect(entries[0]).to.include({ globalPortId: portId("top"), tupleCount: "1234" });
    server.handlers.listEntries = () => ListEntriesResponse.create();
    expect((await run("cache", "ls", "sales")).out).to.match(/^No results of sales are remembered\. /);
  });

  it("explains the ports of a stored version, or of a file under its name or another's", async () => {
    const asked = answering("explainMiss", () =>
      ExplainMissResponse.fromPartial({ ports: [{ globalPortId: portId("top", 1), hit: true }] }),
    );
    await writeFile(join(dir, "sales.json"), '{"operators": []}');
    const { out } = await run("cache", "explain", "sales", "--version", "2", "--port", "top:1");
    expect(out).to.contain("top:1  cached").and.to.contain("1 of 1 result cached");
    await run("cache", "explain", "sales.json");
    await run("cache", "explain", "sales.json", "--workflow", "other", "--port", portId("a"));
    const [stored, file, other] = asked as [object, object, object];
    expect(stored).to.deep.include({
      workflowId: "sales",
      version: 2,
      plan: undefined,
      globalPortIds: [portId("top", 1)],
    });
    expect(file).to.deep.include({ workflowId: "sales", version: 0, globalPortIds: [] });
    expect(other).to.deep.include({ workflowId: "other", globalPortIds: [portId("a")] });
    expect((await run("cache", "explain", "sales.json", "--version", "2")).code).to.equal(2);
    expect((await run("cache", "explain", "sales", "--workflow", "x")).code).to.equal(2);
  });

  it("lists the results there are when it is to explain one the plan has not", async () => {
    server.handlers.explainMiss = () => {
      throw invalid(`The plan has no output port ${portId("topp")}.`);
    };
    const outputs = [
      { key: { operatorId: "top", layer: "main" } },
      { key: { operatorId: "top", layer: "main", portId: 1 } },
    ];
    server.handlers.compile = () => CompileResponse.fromPartial({ plan: { operators: [{ outputs }] } });
    const { code, err } = await run("cache", "explain", "sales", "--port", "topp");
    expect(code).to.equal(2);
    expect(err).to.equal('error: The plan has no result "topp"; did you mean "top"? It has: top, top:1.\n');
    server.handlers.compile = () => {
      throw invalid("It does not compile.");
    };
    expect((await run("cache", "explain", "sales", "--port", "topp")).err).to.contain("The plan has no output port");
  });

  it("says what to do about a file of no stored workflow", async () => {
    server.handlers.explainMiss = () => {
      throw notFound('workflow "new"');
    };
    await writeFile(join(dir, "new.json"), '{"operators": []}');
    for (const args of [
      ["cache", "explain", "new.json"],
      ["plan", "new.json", "--what-if"],
    ]) {
      const { code, err } = await run(...args);
      expect(code).to.equal(4);
      expect(err).to.match(
        /There is no workflow "new".* with --workflow, or run the file first: postern run new\.json$/m,
      );
    }
    expect((await run("cache", "explain", "new")).err).to.equal(
      'error: There is no workflow "new", or you may not see it.\n',
    );
  });

  describe("invalidate", () => {
    const reply = InvalidateResponse.fromPartial({ entries: [entry("top")], entryCount: 1n, byteCount: 2048n });

    it("prints what went, and with --dry-run what would", async () => {
      const asked = answering<object>("invalidate", () => reply);
      const gone = await run("cache", "invalidate", "sales", "--port", "top", "--hash", "0123");
      expect(gone.out)
        .to.match(/^top {3}aggregate/m)
        .and.to.contain("1 result, 2.0 KiB forgotten.\n");
      const dry = await run("cache", "invalidate", "sales", "--dry-run");
      expect(dry.out).to.contain("1 result, 2.0 KiB would be forgotten; nothing was changed.\n");
      expect(asked[0]).to.deep.include({
        projectId: "p",
        workflowId: "sales",
        globalPortId: portId("top"),
        subdagHash: "0123",
        dryRun: false,
      });
      expect(asked[1]).to.deep.include({ workflowId: "sales", globalPortId: "", dryRun: true });
      const document = JSON.parse((await run("cache", "invalidate", "sales", "--dry-run", "--json")).out);
      expect(document).to.include({ dryRun: true, entryCount: "1" });
    });

    it("takes a dataset, a version of it, or an operator type instead of a workflow", async () => {
      const asked = answering<object>("invalidate", () => InvalidateResponse.create());
      const resolved = answering<{ reference: string }>("resolveDataset", () =>
        ResolveDatasetResponse.fromPartial({ version: { datasetId: "d1", version: 7 } }),
      );
      expect((await run("cache", "invalidate", "--dataset", "flights")).out).to.equal(
        "Nothing made from flights is remembered in this project.\n",
      );
      await run("cache", "invalidate", "--dataset", "flights@7");
      await run("cache", "invalidate", "--operator-type", "aggregate");
      expect(resolved.map(({ reference }) => reference)).to.deep.equal(["flights", "flights@7"]);
      expect(asked[0]).to.deep.include({ workflowId: "", datasetId: "d1", datasetVersion: 0 });
      expect(asked[1]).to.deep.include({ datasetId: "d1", datasetVersion: 7 });
      expect(asked[2]).to.deep.include({ datasetId: "", operatorType: "aggregate" });
    });

    it("says what is remembered when nothing matches, or that the name is unknown", async () => {
      answering("invalidate", () => InvalidateResponse.create());
      server.handlers.listEntries = () => ListEntriesResponse.fromPartial({ entries: [entry("top"), entry("all")] });
      const port = await run("cache", "invalidate", "sales", "--port", "topp");
      expect(port).to.deep.equal({
        code: 0,
        out: 'Nothing of port topp is remembered of sales; did you mean "top"? Remembered are: top (aggregate), all (aggregate).\n',
        err: "",
      });
      expect((await run("cache", "invalidate", "--operator-type", "agregate")).out).to.equal(
        'Nothing of operators of type agregate is remembered in this project. No operator has that type; did you mean "aggregate"?\n',
      );
      server.handlers.listEntries = () => ListEntriesResponse.create();
      expect((await run("cache", "invalidate", "sales")).out).to.equal("Nothing is remembered of sales.\n");
    });

    it("forgets nothing unless it is told what", async () => {
      for (const args of [[], ["--dry-run"], ["--hash", "ab"], ["--operator-type", "x", "--port", "top"]])
        expect((await run("cache", "invalidate", ...args)).code).to.equal(2);
      expect(server.calls).to.deep.equal([]);
    });

    for (const option of ["--hash", "--port", "--dataset", "--operator-type"])
      it(`forgets nothing when ${option} is empty, as a variable that was never set`, async () => {
        const { code, err } = await run("cache", "invalidate", "sales", option, "");
        expect(code).to.equal(2);
        expect(err).to.match(/is empty: name one, or leave it away/);
        expect((await run("cache", "invalidate", "", "--dry-run")).code).to.equal(2);
        expect(server.calls).to.deep.equal([]);
      });
  });

  it("tells size, hit rate and what was saved", async () => {
    server.handlers.getCacheStatistics = () =>
      GetCacheStatisticsResponse.fromPartial({
        entryCount: 12n,
        byteCount: 4096n,
        lookupCount: 200n,
        hitCount: 150n,
        savedMs: 12_400n,
        savedBytes: 3072n,
        executionCount: 14n,
      });
    const { out } = await run("cache", "stats", "sales");
    expect(out.split("\n").slice(2, 7)).to.deep.equal([
      "entries    12",
      "size       4.0 KiB",
      "looked up  200 results in 14 executions",
      "reused     150 results (75.0 %)",
      "saved      12.4 s, 3.0 KiB",
    ]);
    expect(JSON.parse((await run("cache", "stats", "--json")).out)).to.include({ hitCount: "150" });
  });

  describe("policy", () => {
    const present: CachePolicy = { ttlSeconds: 604_800n, quotaBytes: 0n, shared: false };
    beforeEach(() => {
      server.handlers.getCachePolicy = () => ({ policy: present });
    });

    it("is only shown without options", async () => {
      const { out } = await run("cache", "policy");
      expect(out.split("\n").slice(2, 5)).to.deep.equal([
        "forgotten when unused for  7 d",
        "size at most               no limit",
        "shared between workflows   no",
      ]);
      expect(server.calls).to.deep.equal(["getCachePolicy"]);
    });

    it("changes in what the options name and in nothing else", async () => {
      const asked = answering<{ policy: CachePolicy }>("setCachePolicy", ({ policy }) => ({ policy }));
      const { out } = await run("cache", "policy", "--quota", "1.5GiB", "--shared");
      await run("cache", "policy", "--ttl", "never", "--no-shared");
      server.handlers.getCachePolicy = () => ({ policy: { ...present, shared: true } });
      await run("cache", "policy", "--ttl", "12h");
      expect(asked.map(({ policy }) => policy)).to.deep.equal([
        { ttlSeconds: 604_800n, quotaBytes: 1_610_612_736n, shared: true },
        { ttlSeconds: 0n, quotaBytes: 0n, shared: false },
        { ttlSeconds: 43_200n, quotaBytes: 0n, shared: true },
      ]);
      expect(out).to.contain("1.5 GiB");
    });

    for (const args of [
      ["--ttl", "7"],
      ["--ttl", "0s"],
      ["--ttl", "7 weeks"],
      ["--ttl", "99999999999d"],
      ["--quota", "10GB"],
      ["--quota", "-1B"],
    ])
      it(`refuses ${args.join(" ")}, and says how to write it`, async () => {
        const { code, err } = await run("cache", "policy", ...args);
        expect(code).to.equal(2);
        expect(err).to.match(/Write a number with/);
        expect(server.calls).to.deep.equal([]);
      });

    it("takes a hundred years of --ttl and no more, and says so in the words of the option", async () => {
      const { code, err } = await run("cache", "policy", "--ttl", "36501d");
      expect(code).to.equal(2);
      expect(err).to.contain("--ttl").and.to.contain("Write 36500d at most");
      expect(server.calls).to.deep.equal([]);
      const asked = answering<{ policy: CachePolicy }>("setCachePolicy", ({ policy }) => ({ policy }));
      await run("cache", "policy", "--ttl", "36500d");
      expect(asked[0]!.policy.ttlSeconds).to.equal(3_153_600_000n);
    });

    for (const args of [
      ["--shared", "--no-shared"],
      ["--no-shared", "--shared"],
    ])
      it(`refuses ${args.join(" ")}, which contradict each other`, async () => {
        const { code, err } = await run("cache", "policy", ...args);
        expect([code, err]).to.deep.equal([
          2,
          "error: --shared and --no-shared contradict each other: give one of them.\n",
        ]);
        expect(server.calls).to.deep.equal([]);
      });
  });
});
