import { expect } from "chai";
import fc from "fast-check";
import { applyItem, type ExecutionView, emptyView, type OperatorView } from "../../src/cli/execution-view.js";
import { changeLines, consoleText, renderProgress } from "../../src/cli/progress-lines.js";
import { widthOf } from "../../src/cli/text.js";
import { ExecutionEvent, RunState } from "../../src/contract/postern/v1/execution.js";
import { RUN_STATES } from "../../src/core/execution-state.js";

const now = Date.parse("2026-01-01T00:00:10Z");

function operator(title: string, more: Partial<OperatorView> = {}): OperatorView {
  const base = { operatorId: title, layer: "main", title, type: "filter", state: "READY" as const, busyMs: 0 };
  const rows = { inputRows: undefined, outputRows: undefined };
  const estimates = { estimatedInputRows: undefined, estimatedOutputRows: undefined };
  return { ...base, ...rows, ...estimates, progress: undefined, ...more };
}

const view = (more: Partial<ExecutionView>): ExecutionView => ({
  ...emptyView("0198c2f0-0000-7000-8000-000000000001"),
  workflow: "sales version 3",
  state: "RUNNING",
  startedAt: new Date(now - 2_500),
  ...more,
});

const running = view({
  operators: [
    operator("flights", { state: "COMPLETED", inputRows: 3_000_000n, outputRows: 3_000_000n, busyMs: 1200 }),
    operator("large airports only", { state: "RUNNING", inputRows: 3_000_000n, outputRows: 1204n, progress: 0.43 }),
    operator("top"),
  ],
});

describe("progress", () => {
  it("draws state, rows in and out, percent and time of each operator on a wide terminal", () => {
    expect(renderProgress(running, { columns: 100, rows: 24, now })).to.deep.equal([
      "RUNNING sales version 3 · 1 of 3 operators done · 2.5 s",
      "  ✔ flights              3,000,000 →   3,000,000        1.2 s",
      "  ⠋ large airports only  3,000,000 →       1,204  43 %".replace("⠋", spinnerAt(now)),
      "  · top",
    ]);
  });

  it("marks rows that are estimated, and shows counted ones where there are any", () => {
    const estimates = { estimatedInputRows: 1_234_567n, estimatedOutputRows: 98_765n };
    const operators = [
      operator("keep large", { state: "RUNNING", ...estimates, progress: 0.5 }),
      operator("code", { state: "RUNNING", ...estimates, outputRows: 12n }),
    ];
    expect(renderProgress(view({ operators }), { columns: 100, rows: 24, now }).slice(1)).to.deep.equal([
      `  ${spinnerAt(now)} keep large  ~1,234,567 →   ~98,765  50 %`,
      `  ${spinnerAt(now)} code        ~1,234,567 →        12`,
    ]);
  });

  it("forgets what was estimated when the operator ends, with last figures or without", () => {
    const key = { operatorId: "a", layer: "main" };
    const told = (kind: ExecutionEvent["kind"]) =>
      applyItem(estimated, { item: { $case: "event", value: ExecutionEvent.fromPartial({ attempt: 1, kind }) } });
    const estimated = view({ operators: [operator("a", { state: "RUNNING", estimatedOutputRows: 7n })] });
    const ended = { ...key, state: RunState.RUN_STATE_COMPLETED };
    const last = { ...ended, outputBytes: 0n, busyMs: 1n, peakMemoryBytes: 0n, malformedRows: 0n };
    for (const after of [
      told({ $case: "operatorState", value: { ...ended, failure: undefined } }),
      told({ $case: "operatorStatistics", value: { ...last, estimatedOutputRows: 9n } }),
    ]) {
      expect(after.operators[0]).to.include({ state: "COMPLETED", outputRows: undefined });
      expect(after.operators[0]?.estimatedOutputRows).to.equal(undefined);
    }
  });

  it("gives up the least telling figures first on a narrow terminal", () => {
    const lines = renderProgress(running, { columns: 38, rows: 24, now });
    expect(lines[1]).to.equal("  ✔ flights            3,000,000");
    expect(lines[2]).to.match(/large airports o… /);
    expect(lines.every((line) => widthOf(line) <= 38)).to.equal(true);
  });

  it("never draws a line wider, or a picture higher, than the terminal", () => {
    const operators = fc.array(
      fc.record({
        title: fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }),
        state: fc.constantFrom(...RUN_STATES),
        outputRows: fc.option(fc.bigInt(0n, 10n ** 15n), { nil: undefined }),
        estimatedInputRows: fc.option(fc.bigInt(0n, 10n ** 15n), { nil: undefined }),
        busyMs: fc.nat(10_000_000),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(
        operators,
        fc.integer({ min: 12, max: 160 }),
        fc.integer({ min: 5, max: 60 }),
        (some, columns, rows) => {
          const drawn = view({ operators: some.map(({ title, ...more }, i) => operator(`${i} ${title}`, more)) });
          const lines = renderProgress(drawn, { columns, rows, now });
          expect(lines.length).to.be.below(rows);
          for (const line of lines) expect(widthOf(line)).to.be.at.most(columns);
        },
      ),
    );
  });

  it("keeps what runs or failed on the screen when not all operators fit", () => {
    const many = Array.from({ length: 40 }, (_, i) => operator(`done ${i}`, { state: "COMPLETED" }));
    const drawn = view({ operators: [...many, operator("the culprit", { state: "FAILED" })] });
    const lines = renderProgress(drawn, { columns: 80, rows: 10, now });
    expect(lines.join("\n")).to.contain("✖ the culprit");
    expect(lines.at(-1)).to.contain("… and 34 operators more");
  });

  it("tells changes only, one line each, where there is no terminal", () => {
    const before = view({ lastNumber: 4n, operators: [operator("a"), operator("b")] });
    const after = view({
      lastNumber: 6n,
      state: "COMPLETED",
      endedAt: new Date(now),
      operators: [operator("a", { state: "COMPLETED", outputRows: 1n, busyMs: 100 }), operator("b")],
    });
    expect(changeLines(before, after)).to.deep.equal([
      "  a: COMPLETED (1 row, 0.1 s)",
      "sales version 3: COMPLETED, 2.5 s",
    ]);
    expect(changeLines(after, { ...after, lastNumber: 9n })).to.deep.equal([]);
  });

  it("tells a new try", () => {
    expect(changeLines(view({ lastNumber: 4n }), view({ lastNumber: 5n, attempt: 2 }))).to.deep.equal([
      "sales version 3: RUNNING, try 2",
    ]);
  });

  it("shows what user code wrote without letting it steer the terminal", () => {
    const line = { operator: "grade", level: "output" as const, text: "\x1b]0;title\x07 done" };
    expect(consoleText(line)).to.equal("[grade] \\u001b]0;title\\u0007 done");
  });
});

const spinnerAt = (ms: number) => "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[Math.floor(ms / 80) % 10]!;
