import { expect } from "chai";
import { GetOperatorStatisticsResponse } from "../../src/contract/postern/v1/execution.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

describe("postern call", () => {
  let server: FakeServer;
  beforeEach(async () => {
    server = await startFakeServer();
  });
  afterEach(() => server.stop());
  const call = (args: string[], input = "") =>
    cli(["call", ...args], fakeTerminal({ env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t" }, input }));

  it("calls a unary method with proto3 JSON both ways: enums by name, 64-bit integers as strings", async () => {
    server.handlers.getOperatorStatistics = ({ of }) =>
      GetOperatorStatisticsResponse.fromPartial({
        executionId: of.value,
        operators: [{ operatorId: "a", layer: "main", state: 4, outputRows: 9007199254740993n }],
      });
    const { code, out } = await call(["ExecutionService/GetOperatorStatistics", '{"executionId": "e"}']);
    expect(code).to.equal(0);
    expect(JSON.parse(out)).to.deep.equal({
      executionId: "e",
      operators: [{ operatorId: "a", layer: "main", state: "RUN_STATE_COMPLETED", outputRows: "9007199254740993" }],
    });
  });

  it("passes free-form properties through", async () => {
    let seen: unknown;
    server.handlers.compile = ({ source }) => {
      seen = source.value.operators[0].properties;
      return { diagnostics: [] };
    };
    const plan = { operators: [{ id: "a", type: "t", properties: { deep: [{ x: null }, 1.5, "s", true] } }] };
    await call(["postern.v1.CompileService/Compile", JSON.stringify({ projectId: "p", plan })]);
    expect(seen).to.deep.equal({ deep: [{ x: null }, 1.5, "s", true] });
  });

  it("prints a server stream as JSON lines", async () => {
    server.handlers.watchExecution = async function* () {
      yield { item: { $case: "caughtUp", value: { number: 1n } } };
      yield { item: { $case: "caughtUp", value: { number: 2n } } };
    };
    const { out } = await call(["executionservice.watchexecution", "{}"]);
    expect(out).to.equal('{"caughtUp":{"number":"1"}}\n{"caughtUp":{"number":"2"}}\n');
  });

  it("reads a client stream from standard input, a JSON line each", async () => {
    const chunks: string[] = [];
    server.handlers.uploadDataset = async (pieces) => {
      for await (const { piece } of pieces) chunks.push(piece.$case === "chunk" ? piece.value.toString() : "header");
      return { created: true };
    };
    const input = '{"header":{"name":"d"}}\n\n{"chunk":"aGVsbG8="}\n';
    const { code, out } = await call(["DatasetService/UploadDataset"], input);
    expect([code, JSON.parse(out)]).to.deep.equal([0, { created: true }]);
    expect(chunks).to.deep.equal(["header", "hello"]);
  });

  it("talks both ways on a bidirectional stream", async () => {
    server.handlers.attach = async function* (frames) {
      for await (const { frame } of frames)
        yield { frame: { $case: "nack", value: { expected: BigInt(frame.value.attempt) } } };
    };
    const { code, out } = await call(["ExecutionService/Attach"], '{"hello":{"attempt":1}}\n{"hello":{"attempt":2}}\n');
    expect(code).to.equal(0);
    expect(out).to.equal('{"nack":{"expected":"1"}}\n{"nack":{"expected":"2"}}\n');
  });

  it("refuses a field the contract does not know, before the call", async () => {
    const { code, err } = await call(["AccessService/CreateProject", '{"projekt": "p"}']);
    expect(code).to.equal(2);
    expect(err).to.match(/the request is no CreateProjectRequest: .*"projekt" is unknown/);
    expect(server.calls).to.deep.equal([]);
  });

  it("names the line of standard input that is wrong", async () => {
    server.handlers.attach = async function* (frames) {
      for await (const _ of frames) yield* [];
    };
    const { code, err } = await call(["ExecutionService/Attach"], '{"hello":{}}\nnope\n');
    expect(code).to.equal(2);
    expect(err).to.contain("line 2 of standard input is not JSON");
  });

  it("suggests methods for a name that is none", async () => {
    const { code, err } = await call(["ExecutionService/Watch"]);
    expect(code).to.equal(2);
    expect(err).to.contain("did you mean ExecutionService/WatchExecution?");
  });

  it("lists every method with the scopes it demands", async () => {
    const { out } = await call(["--list", "--json"]);
    const { methods } = JSON.parse(out) as { methods: { method: string; kind: string; scopes: string[] }[] };
    expect(methods.find(({ method }) => method === "ExecutionService/Serve")).to.deep.include({
      kind: "bidi streaming",
      scopes: ["serve"],
    });
  });
});
