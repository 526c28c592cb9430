import { expect } from "chai";
import { ConsoleMessage_Level, OperatorStatistics, RunState } from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { CONSOLE_BYTES_PER_SECOND } from "../../src/executor/run/console-budget.js";
import { createReport, type Report } from "../../src/executor/run/report.js";
import { encodeEvent } from "../../src/executor-session/event-encoding.js";
import type { EventKind } from "../../src/executor-session/session-api.js";

describe("what a run reports", () => {
  let reports: Report[];
  let events: EventKind[];
  let hasRoom: boolean;
  let now: number;
  beforeEach(() => {
    reports = [];
    events = [];
    hasRoom = true;
    now = 0;
  });
  afterEach(() => {
    for (const report of reports) report.stop();
  });

  function open(): Report {
    const session = {
      report: async (kind: EventKind) => void events.push(kind),
      offer: (kind: EventKind) => hasRoom && events.push(kind) > 0,
    };
    const report = createReport({ session, now: () => now });
    reports.push(report);
    return report;
  }
  const figures = (operatorId: string, busyMs: bigint) => OperatorStatistics.fromPartial({ operatorId, busyMs });
  const say = (report: Report, text: string) => report.console("f", ConsoleMessage_Level.LEVEL_OUTPUT, text);
  const lines = () => events.flatMap((e) => (e.$case === "consoleMessage" ? [e.value.text] : []));
  const told = () => events.flatMap((e) => (e.$case === "operatorStatistics" ? [e.value.busyMs] : []));

  it("tells an operator's figures every half second, the latest of them, and counts the rest", async () => {
    const report = open();
    for (let n = 1n; n <= 100n; n++) {
      now += 10;
      report.statistics(figures("a", n));
    }
    expect(told()).to.deep.equal([1n, 41n, 81n]);
    await report.finish();
    expect(told()).to.deep.equal([1n, 41n, 81n, 100n]);
    expect(report.dropped().statistics).to.equal(96n);
  });

  it("tells an operator's last figures before its end, however short it ran", async () => {
    const report = open();
    for (let n = 1n; n <= 3n; n++) report.statistics(figures("a", n));
    await report.operatorState({ operatorId: "a", layer: "" }, RunState.RUN_STATE_COMPLETED);
    expect(events.map((e) => (e.$case === "operatorStatistics" ? e.value.busyMs : e.$case))).to.deep.equal([
      1n,
      3n,
      "operatorState",
    ]);
  });

  it("counts figures there was no room for at the end", async () => {
    const report = open();
    hasRoom = false;
    report.statistics(figures("a", 1n));
    report.statistics(figures("b", 1n));
    await report.finish();
    expect(report.dropped().statistics).to.equal(2n);
  });

  it("tells lines within a budget of bytes a second, and marks the gap where it is", async () => {
    const report = open();
    const line = "x".repeat(1_024);
    const fitting = CONSOLE_BYTES_PER_SECOND / 1_024;
    for (let n = 0; n < fitting + 1_500; n++) say(report, line);
    expect(lines()).to.have.length(fitting);
    now += 1_000;
    say(report, "again");
    expect(lines().slice(fitting)).to.deep.equal(["1,500 lines dropped here; the console file has more.", "again"]);
    await report.finish();
    expect(report.dropped().consoleLines).to.equal(1_500n);
  });

  it("marks a gap also when nothing follows", async () => {
    const report = open();
    for (let n = 0; n < 3; n++) say(report, "x".repeat(CONSOLE_BYTES_PER_SECOND / 9));
    for (let n = 0; n < 70; n++) say(report, "y".repeat(8_000));
    now += 1_000;
    const noted = () => lines().some((text) => / dropped here/.test(text));
    while (!noted()) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  it("counts lines there was no room for, and tells of them for certain at the end", async () => {
    const report = open();
    say(report, "one");
    hasRoom = false;
    say(report, "two");
    say(report, "three");
    expect(lines()).to.deep.equal(["one"]);
    await report.finish();
    expect(lines()).to.deep.equal(["one", "2 lines dropped here; the console file has more."]);
    expect(report.dropped().consoleLines).to.equal(2n);
  });

  it("tells of a port of any width: the columns are in the manifest", async () => {
    const attributes = Array.from({ length: 5_000 }, (_, i) => ({ name: `a_long_name_of_a_column_${i}`, type: 1 }));
    const port = PortResult.fromPartial({ uri: "file:///x", rowCount: 3n, schema: { attributes } });
    await open().port(port);
    expect(events).to.deep.equal([{ $case: "portResult", value: { ...port, schema: undefined } }]);
    encodeEvent({ attempt: 1, sequence: 1, occurredAt: new Date(), kind: events[0]! });
  });

  it("says no line after a gap before the note about it", () => {
    const report = open();
    hasRoom = false;
    say(report, "lost");
    hasRoom = true;
    say(report, "kept");
    expect(lines()).to.deep.equal(["1 line dropped here; the console file has more.", "kept"]);
  });
});
