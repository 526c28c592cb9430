import { expect } from "chai";
import { GetExecutionResponse, WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { ListPortsResponse } from "../../src/contract/postern/v1/port_registry.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const id = "0198c2f0-0000-7000-8000-000000000001";
const occurredAt = new Date("2026-01-31T12:34:56.789Z");
const line = (number: bigint, operatorId: string, level: 1 | 2 | 3, text: string, worker = 0) =>
  WatchExecutionResponse.fromPartial({
    item: {
      $case: "event",
      value: { number, occurredAt, kind: { $case: "consoleMessage", value: { operatorId, level, text, worker } } },
    },
  });
const caughtUp = (number: bigint) =>
  WatchExecutionResponse.fromPartial({ item: { $case: "caughtUp", value: { number } } });
const ended = (number: bigint) =>
  WatchExecutionResponse.fromPartial({
    item: { $case: "event", value: { number, kind: { $case: "executionState", value: { state: 8 } } } },
  });

describe("postern console", () => {
  let server: FakeServer;
  let asked: bigint[];
  beforeEach(async () => {
    server = await startFakeServer();
    asked = [];
    server.handlers.getExecution = () => GetExecutionResponse.fromPartial({ execution: { id } });
    server.handlers.listPorts = () =>
      ListPortsResponse.fromPartial({
        consoles: [{ operatorId: "grade", lineCount: 12_000n, uri: "file:///r/grade" }],
      });
    server.handlers.watchExecution = async function* ({ after }: { after: bigint }) {
      asked.push(after);
      yield line(3n, "grade", 1, "hello\x1b[2J");
      yield line(4n, "grade", 2, "oh no", 1);
      yield line(5n, "other", 3, "12 lines dropped here");
      yield caughtUp(5n);
      yield line(6n, "grade", 1, "later");
      yield ended(7n);
    };
  });
  afterEach(() => server.stop());
  const run = (...args: string[]) =>
    cli(
      ["console", id, ...args],
      fakeTerminal({ env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p" } }),
    );

  it("replays every line from the beginning of the log, with operator, worker and time", async () => {
    const { code, out, err } = await run();
    expect(code).to.equal(0);
    expect(asked).to.deep.equal([0n]);
    expect(out.split("\n")).to.deep.equal([
      "12:34:56.789 [grade] hello\\u001b[2J",
      "12:34:56.789 [grade #1] oh no",
      "12:34:56.789 [other] 12 lines dropped here",
      "",
    ]);
    expect(err).to.equal("Every line of grade, 12,000 in all: file:///r/grade\n");
  });

  it("goes on until the execution has ended with --follow", async () => {
    expect((await run("--follow")).out).to.contain("[grade] later\n");
  });

  it("shows one operator, or errors and notes only", async () => {
    expect((await run("other")).out).to.equal("12:34:56.789 [other] 12 lines dropped here\n");
    expect((await run("--errors")).out).to.not.contain("hello");
  });

  it("prints a JSON line per line with --json", async () => {
    const lines = (await run("--json")).out
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text));
    expect(lines[1]).to.deep.equal({
      number: "4",
      at: occurredAt.toISOString(),
      operatorId: "grade",
      operator: "grade",
      worker: 1,
      level: "error",
      text: "oh no",
    });
  });
});
