// How far a query is, told from what DuckDB says of its progress and its plan.
import { expect } from "chai";
import fc from "fast-check";
import { plannedRows, shareOf, watchShare } from "../../src/executor/run/query-share.js";
import { until } from "../support/until.js";

describe("the share of a query", () => {
  const progress = (percentage: number, processed: number, total: number) => ({
    percentage,
    rows_processed: BigInt(processed),
    total_rows_to_process: BigInt(total),
  });
  const join = {
    name: "HASH_JOIN",
    extra_info: { "Estimated Cardinality": "900" },
    children: [
      { name: "PARQUET_SCAN", extra_info: { "Estimated Cardinality": "900" }, children: [] },
      { name: "SEQ_SCAN", extra_info: { "Estimated Cardinality": "100" }, children: [] },
    ],
  };
  const planned = plannedRows(JSON.stringify([{ name: "ORDER_BY", extra_info: {}, children: [join] }]));
  const stagesOf = (processed: number, total: number) => shareOf(progress(50, processed, total), { planned })?.stages;

  it("is that of the rows a plan reads, and then of those it gathers; what a join keeps room for is neither", () => {
    expect(planned).to.deep.equal({ read: 1_000, joined: 900 });
    expect(stagesOf(250, 2_902)).to.deep.equal({ read: 0.25, gathered: 0 });
    expect(stagesOf(1_000, 2_900)).to.deep.equal({ read: 1, gathered: 0 });
    expect(stagesOf(1_500, 2_900)).to.deep.equal({ read: 1, gathered: 0.5 });
    expect(stagesOf(2_500, 2_900), "rows put on disk after all").to.deep.equal({ read: 1, gathered: 1 });
  });

  it("of everything leaves out what joins keep room for, and is whole when DuckDB says so", () => {
    const doneOf = (percentage: number, processed: number) =>
      shareOf(progress(percentage, processed, 2_900), { planned })?.done;
    expect(doneOf(25, 500)).to.equal(0.25);
    expect(doneOf(17, 500)).to.equal(0.25);
    expect(doneOf(70, 2_030), "rows on disk are still to come").to.equal(0.99);
    expect(doneOf(100, 2_900)).to.equal(1);
  });

  it("of a plan that gathers nothing is that of what it reads", () => {
    expect(stagesOf(250, 1_902)).to.deep.equal({ read: 0.25, gathered: 0.25 });
  });

  it("is DuckDB's own where the plan is none, or another one's; nothing before a plan is there or DuckDB can tell", () => {
    const half = { read: 0.5, gathered: 0.5 };
    expect(shareOf(progress(50, 5, 10), { planned: plannedRows("nonsense") })).to.deep.equal({
      done: 0.5,
      stages: half,
    });
    expect(shareOf(progress(50, 5, 10), { planned })).to.deep.equal({ done: 0.5, stages: half });
    expect(shareOf(progress(50, 5, 10), undefined)).to.deep.equal({ done: 0.5, stages: undefined });
    expect(shareOf(progress(-1, 0, 0), { planned })).to.equal(undefined);
  });

  it("is always one, whatever DuckDB says", () => {
    const rows = fc.nat();
    fc.assert(
      fc.property(
        fc.double({ min: -1, max: 101 }),
        rows,
        rows,
        fc.record({ read: rows, joined: rows }),
        (percent, a, b, of) => {
          const told = shareOf(progress(percent, a, b), { planned: of });
          for (const share of told ? [told.done, told.stages!.read, told.stages!.gathered] : [])
            expect(share).to.be.within(0, 1);
        },
      ),
    );
  });

  it("asks for the plan once, when it is first asked itself, and goes without when there is none", async () => {
    let asked = 0;
    const explain = () => {
      asked++;
      return Promise.reject(new Error("no plan"));
    };
    const share = watchShare({ explain, progress: () => progress(50, 5, 10) });
    expect(asked).to.equal(0);
    expect(share()).to.deep.equal({ done: 0.5, stages: undefined });
    await until(() => share()?.stages !== undefined);
    expect(share()?.stages).to.deep.equal({ read: 0.5, gathered: 0.5 });
    expect(asked).to.equal(1);
  });

  it("asks again while something else is being asked", async () => {
    let asked = 0;
    const explain = () => (++asked < 3 ? undefined : Promise.reject(new Error("no plan")));
    const share = watchShare({ explain, progress: () => progress(50, 5, 10) });
    await until(() => share()?.stages !== undefined);
    share();
    expect(asked).to.equal(3);
  });
});
