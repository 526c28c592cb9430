import { expect } from "chai";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const TIMES = exampleRows({ at: "timestamp", n: "long" }, ["2024-12-30T23:45:06.789Z", 1], [null, 2]);

describe("date parts", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const parts: [part: string, type: string, utc: unknown, tokyo: unknown][] = [
    ["year", "integer", 2024, 2024],
    ["quarter", "integer", 4, 4],
    ["month", "integer", 12, 12],
    ["month-name", "string", "December", "December"],
    ["week", "integer", 1, 1],
    ["iso-year", "integer", 2025, 2025],
    ["day", "integer", 30, 31],
    ["day-of-year", "integer", 365, 366],
    ["weekday", "integer", 1, 2],
    ["weekday-name", "string", "Monday", "Tuesday"],
    ["hour", "integer", 23, 8],
    ["minute", "integer", 45, 45],
    ["second", "integer", 6, 6],
    ["millisecond", "integer", 789, 789],
    ["date", "timestamp", "2024-12-30T00:00:00Z", "2024-12-31T00:00:00Z"],
    ["month-start", "timestamp", "2024-12-01T00:00:00Z", "2024-12-01T00:00:00Z"],
    ["week-start", "timestamp", "2024-12-30T00:00:00Z", "2024-12-30T00:00:00Z"],
    ["epoch-ms", "long", 1735602306789, 1735602306789],
  ];

  it("are those of the calendar and the clocks of a time zone", async () => {
    for (const [timeZone, place] of [
      ["UTC", 2],
      ["Asia/Tokyo", 3],
    ] as const) {
      const properties = { column: "AT", timeZone, parts: parts.map(([part]) => ({ part, as: part })) };
      const [output] = await runs.queried("date-parts", properties, [TIMES]);
      expect(output!.schema.slice(2)).to.deep.equal(parts.map(([name, type]) => ({ name, type })));
      expect(output!.rows[0]!.slice(2)).to.deep.equal(parts.map((part) => part[place]));
      expect(output!.rows[1]!.slice(2)).to.deep.equal(parts.map(() => null));
    }
  });

  it("are named after column and part, and say when a name is taken or a column holds no time", async () => {
    const found = (properties: object) => runs.findings("date-parts", properties as never, [TIMES]);
    expect(await found({ column: "n", parts: [{ part: "year" }] })).to.deep.equal([
      'column: "n" is long and not timestamp; cast it first.',
    ]);
    expect((await found({ column: "at", parts: [{ part: "year", as: "N" }] }))[0]).to.match(
      /^parts.0.as: The input has/,
    );
    expect((await found({ column: "at", parts: [{ part: "year" }, { part: "year" }] }))[0]).to.match(/^parts.1.part: /);
    expect((await found({ column: "at", parts: [{ part: "yaer" }] }))[0]).to.match(/did you mean "year"/);
    expect((await found({ column: "at", parts: [{ part: "year" }], timeZone: "Europe/Pariss" }))[0]).to.match(
      /^timeZone: There is no time zone "Europe\/Pariss"/,
    );
  });
});
