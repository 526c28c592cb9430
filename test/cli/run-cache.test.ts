import { expect } from "chai";
import { CompileResponse } from "../../src/contract/postern/v1/compile.js";
import {
  CacheMode,
  type DeepPartial,
  ExecutionState,
  GetExecutionResponse,
  type PrepareExecutionRequest,
  PrepareExecutionResponse,
  WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { invalid } from "../../src/core/app-error.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const portId = (operator: string) => `(logicalOpId=${operator},layerName=main,portId=0,isInternal=false,isInput=false)`;

describe("postern run with a cache", () => {
  const ID = "0198c2f0-0000-7000-8000-000000000001";
  let server: FakeServer;
  let prepared: PrepareExecutionRequest[];
  let ended: DeepPartial<GetExecutionResponse>;
  beforeEach(async () => {
    prepared = [];
    ended = {};
    const execution = {
      id: ID,
      workflowId: "w",
      computingUnitId: "c",
      state: ExecutionState.EXECUTION_STATE_COMPLETED,
    };
    server = await startFakeServer({
      prepareExecution: (request) => {
        prepared.push(request);
        return PrepareExecutionResponse.fromPartial({ execution });
      },
      getExecution: () =>
        GetExecutionResponse.fromPartial({ ...ended, execution: { ...execution, ...ended.execution } }),
      getOperatorStatistics: () => ({ executionId: ID, operators: [], smoothed: [] }),
      async *watchExecution() {
        yield WatchExecutionResponse.fromPartial({ item: { $case: "snapshot", value: { execution } } });
      },
      compile: () => CompileResponse.create(),
    });
  });
  afterEach(() => server.stop());
  const run = (...args: string[]) =>
    cli(
      ["run", "w", "--no-result", ...args],
      fakeTerminal({
        env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p", POSTERN_COMPUTING_UNIT: "c" },
      }),
    );

  it("leaves it to the server how to use it, or says so for the run and for single operators", async () => {
    await run();
    await run("--cache", "refresh");
    await run("--cache", "read-only", "--cache-operator", "a=skip", "--cache-operator", "b=use");
    await run("--cache-operator", "a=refresh");
    const { CACHE_MODE_UNSPECIFIED, CACHE_MODE_USE, CACHE_MODE_REFRESH, CACHE_MODE_SKIP, CACHE_MODE_READ_ONLY } =
      CacheMode;
    expect(prepared.map(({ cache }) => cache)).to.deep.equal([
      undefined,
      { mode: CACHE_MODE_REFRESH, operators: {} },
      { mode: CACHE_MODE_READ_ONLY, operators: { a: CACHE_MODE_SKIP, b: CACHE_MODE_USE } },
      { mode: CACHE_MODE_UNSPECIFIED, operators: { a: CACHE_MODE_REFRESH } },
    ]);
  });

  for (const args of [
    ["--cache", "maybe"],
    ["--cache-operator", "a"],
    ["--cache-operator", "a=often"],
    ["--cache-operator", "a=use", "--cache-operator", "a=skip"],
  ])
    it(`refuses ${args.join(" ")}`, async () => {
      expect((await run(...args)).code).to.equal(2);
      expect(server.calls).to.deep.equal([]);
    });

  it("tells an unknown operator in the words of the option", async () => {
    server.handlers.prepareExecution = () => {
      throw invalid('cache.operators names "nope", and the workflow has no such operator. Its operators are a.');
    };
    const { code, err } = await run("--cache-operator", "nope=skip");
    expect([code, err]).to.deep.equal([
      2,
      'error: --cache-operator names "nope", and the workflow has no such operator. Its operators are a.\n',
    ]);
  });

  const nothing = { execution: { reuse: { regions: 1 } }, reuse: [{ reason: "The cache does not have it." }] };
  const told: [options: string[], line: string][] = [
    [["--cache", "refresh"], "The run was told to compute everything anew (--cache refresh)."],
    [["--cache", "skip"], "The run was told to leave the cache alone (--cache skip)."],
    [["--cache-operator", "a=skip"], "The run was told not to reuse results of a (--cache-operator)."],
    [
      ["--cache", "refresh", "--cache-operator", "a=use"],
      "The run was told to compute everything anew, but for a (--cache refresh).",
    ],
    [["--cache", "skip", "--cache-operator", "a=refresh"], "The run was told to leave the cache alone (--cache skip)."],
    [["--cache", "read-only", "--cache-operator", "a=use"], "The server says of 1 result: The cache does not have it."],
  ];
  for (const [options, line] of told)
    it(`says why nothing was reused after a run with ${options.join(" ")}`, async () => {
      ended = nothing;
      expect((await run(...options)).err.split("\n")).to.include(`Nothing was reused. ${line}`);
    });

  it("says nothing but the document with --json when it leaves", async () => {
    const { out, err } = await run("--detach", "--json");
    expect(err).to.equal("");
    expect(JSON.parse(out).execution.id).to.equal(ID);
  });

  const lines: [title: string, reuse: DeepPartial<GetExecutionResponse>, line: string][] = [
    [
      "regions reused and time saved",
      { execution: { reuse: { regions: 4, regionsReused: 3, portsReused: 5, savedMs: 12_400n } } },
      "3 of 4 regions reused, 12.4 s saved",
    ],
    [
      "results reused where no region was reused whole",
      { execution: { reuse: { regions: 1, portsReused: 2, savedMs: 500n } } },
      "2 results reused, no region whole; 0.5 s saved",
    ],
    [
      "why nothing was reused, in the server's words",
      {
        execution: { reuse: { regions: 2, portsLookedUp: 3 } },
        reuse: [{ reason: "It is new." }, { reason: "Computing is cheaper." }, { reason: "It is new." }],
      },
      "Nothing was reused. The server says of 2 of 3 results: It is new.",
    ],
    [
      "that nothing was reused, without a reason when there is none",
      { execution: { reuse: { regions: 2 } } },
      "Nothing was reused.",
    ],
  ];
  for (const [title, reuse, line] of lines)
    it(`tells in one line after the run ${title}`, async () => {
      ended = reuse;
      const { code, err } = await run();
      expect(code).to.equal(0);
      expect(err.split("\n")).to.include(line);
      expect(err)
        .to.match(/reused/)
        .and.to.match(/More: postern outputs/);
    });

  it("says nothing of reuse when the server does not, and everything with --json", async () => {
    expect((await run()).err).not.to.contain("reused");
    ended = {
      execution: { reuse: { regions: 4, regionsReused: 3 } },
      reuse: [{ globalPortId: portId("a"), reused: true, readMs: 1.5, recomputeMs: 100 }],
    };
    const { out, err } = await run("--json");
    expect(err).to.equal("");
    const document = JSON.parse(out);
    expect(document.execution.reuse).to.include({ regions: 4, regionsReused: 3 });
    expect(document.reuse[0]).to.include({ globalPortId: portId("a"), reused: true, readMs: 1.5, recomputeMs: 100 });
  });
});
