import { expect } from "chai";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json, Properties } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const FLIGHTS = exampleRows(
  { origin: "string", delay: "long", share: "double", at: "timestamp", raw: "binary" },
  ["SEA", 4, 0.5, "2024-01-01T08:00:00Z", null],
  ["SEA", 14, null, "2024-01-02T08:00:00Z", null],
  ["SFO", 5, 2.25, "2024-01-03T08:00:00Z", null],
  [null, null, 1, null, "ff"],
);
interface Spec {
  $schema: string;
  title?: string;
  description: string;
  data: { values: Record<string, Json>[] };
  mark: { type: string };
  encoding: Record<string, { field: string; type: string; title?: string }>;
}

describe("a chart", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  async function draw(properties: Properties, input = FLIGHTS): Promise<Spec> {
    const [output] = await runs.queried("chart", properties, [input]);
    expect(output!.schema).to.deep.equal([{ name: "chart", type: "any" }]);
    expect(output!.rows).to.have.length(1);
    return output!.rows[0]![0] as unknown as Spec;
  }

  const marks: [Properties, rows: number, encoding: Record<string, string>][] = [
    [{ mark: "bar", x: { column: "origin" }, y: { aggregate: "count" } }, 3, { x: "nominal", y: "quantitative" }],
    [{ mark: "line", x: { column: "at" }, y: { column: "delay" } }, 4, { x: "temporal", y: "quantitative" }],
    [
      {
        mark: "point",
        x: { column: "delay" },
        y: { column: "share" },
        color: { column: "origin" },
        size: { column: "delay" },
      },
      4,
      { x: "quantitative", y: "quantitative", color: "nominal", size: "quantitative" },
    ],
    [
      { mark: "area", x: { column: "at" }, y: { column: "delay", aggregate: "sum" }, facet: { column: "origin" } },
      4,
      { x: "temporal", y: "quantitative", facet: "nominal" },
    ],
    [
      { mark: "arc", y: { column: "delay", aggregate: "sum" }, color: { column: "origin" } },
      3,
      { theta: "quantitative", color: "nominal" },
    ],
    [{ mark: "boxplot", x: { column: "origin" }, y: { column: "delay" } }, 4, { x: "nominal", y: "quantitative" }],
    [
      { mark: "heatmap", x: { column: "origin" }, y: { column: "delay" } },
      4,
      { x: "nominal", y: "ordinal", color: "quantitative" },
    ],
  ];
  for (const [properties, rows, encoding] of marks)
    it(`with the mark ${properties.mark} holds its data and says how it is drawn`, async () => {
      const spec = await draw(properties);
      expect(spec.$schema).to.equal("https://vega.github.io/schema/vega-lite/v5.json");
      expect(spec.data.values).to.have.length(rows);
      expect(spec.description).to.equal(`All ${rows} rows of data.`);
      const types = Object.entries(spec.encoding).map(([channel, { type }]) => [channel, type]);
      expect(Object.fromEntries(types)).to.deep.equal(encoding);
      for (const { field } of Object.values(spec.encoding)) expect(spec.data.values[0]).to.have.property(field);
    });

  it("puts on top of each other what adds up, and nothing else", async () => {
    const [x, color] = [{ column: "origin" }, { column: "share" }];
    const over = async (properties: Properties) => {
      const { encoding, mark } = await draw({ x, ...properties });
      const { stack } = encoding.y as { stack?: null };
      return [stack === null ? "apart" : "stacked", Object.keys(encoding).includes("xOffset"), Object.keys(mark)];
    };
    const [plain, faint] = [
      ["type", "tooltip"],
      ["type", "tooltip", "opacity"],
    ];
    const [sum, mean] = [
      { column: "delay", aggregate: "sum" },
      { column: "delay", aggregate: "mean" },
    ];
    expect(await over({ mark: "bar", y: sum, color })).to.deep.equal(["stacked", false, plain]);
    expect(await over({ mark: "bar", y: mean, color })).to.deep.equal(["apart", true, plain]);
    const numbered = await draw({ mark: "bar", x, y: { column: "delay", aggregate: "median" }, color });
    expect(numbered.encoding.xOffset).to.include({ field: "color", type: "ordinal" });
    expect(await over({ mark: "bar", y: mean })).to.deep.equal(["stacked", false, plain]);
    expect(await over({ mark: "bar", x: { column: "at" }, y: mean, color })).to.deep.equal(["apart", false, faint]);
    expect(await over({ mark: "area", y: sum, color })).to.deep.equal(["stacked", false, plain]);
    expect(await over({ mark: "area", y: mean, color })).to.deep.equal(["apart", false, faint]);
    expect(await over({ mark: "area", y: sum, facet: color })).to.deep.equal(["apart", false, plain]);
  });

  it("combines rows by the channels without an aggregate", async () => {
    const { data } = await draw({ mark: "bar", x: { column: "Origin" }, y: { column: "delay", aggregate: "mean" } });
    expect(data.values).to.deep.equal([
      { x: "SEA", y: 9 },
      { x: "SFO", y: 5 },
      { x: null, y: null },
    ]);
  });

  it("counts into bins of equal width, with the largest value in the last", async () => {
    const input = exampleRows({ v: "double" }, ...[0, 1, 2, 3, 9.9, 10].map((v) => [v]), [null]);
    const { data, encoding } = await draw({ mark: "histogram", x: { column: "v" }, bins: 5 }, input);
    expect(data.values).to.deep.equal([
      { x: 0, x2: 2, y: 2 },
      { x: 2, x2: 4, y: 2 },
      { x: 8, x2: 10, y: 2 },
    ]);
    expect(encoding.x).to.deep.include({ bin: "binned" });
    const same = await draw({ mark: "histogram", x: { column: "v" } }, exampleRows({ v: "long" }, [7], [7]));
    expect(same.data.values.map(({ y }) => y)).to.deep.equal([2]);
    expect(
      (await draw({ mark: "histogram", x: { column: "v" } }, exampleRows({ v: "long" }))).data.values,
    ).to.deep.equal([]);
  });

  it("counts what has a place on an axis: no infinite number, none too far away for a distance", async () => {
    const far = exampleRows({ v: "double" }, [-1.7e308], [1.7e308], ["NaN"], ["Infinity"], [2], [null]);
    const { data } = await draw({ mark: "histogram", x: { column: "v" } }, far);
    expect(data.values.map(({ y }) => y)).to.deep.equal([1]);
    const when = exampleRows({ t: "timestamp" }, ["infinity"]);
    const spec = await draw({ mark: "bar", x: { column: "t" }, y: { aggregate: "count" } }, when);
    expect(spec.data.values).to.deep.equal([{ x: null, y: 1 }]);
  });

  it("writes instants as ISO texts, and no number that JSON does not have", async () => {
    const input = exampleRows({ at: "timestamp", x: "double" }, ["2024-01-01T08:00:00.5Z", 1]);
    const { data } = await draw({ mark: "point", x: { column: "at" }, y: { column: "x" } }, input);
    expect(data.values).to.deep.equal([{ x: "2024-01-01T08:00:00.500Z", y: 1 }]);
    const endless = await runs.statements("chart", { mark: "point", x: { column: "x" }, y: { column: "x" } }, [input]);
    expect(endless[0]).to.match(/isfinite/);
  });

  it("holds a bounded number of rows, always the same, and says what is left out", async () => {
    const rows = Array.from({ length: 3_000 }, (_, i) => [i, i % 7]);
    const properties = { mark: "point", x: { column: "a" }, y: { column: "b" }, maxRows: 100 };
    const spec = await draw(properties, exampleRows({ a: "long", b: "long" }, ...rows));
    expect(spec.description).to.equal("100 of 3000 rows of data; the others are left out.");
    expect(spec.data.values).to.have.length(100);
    const shuffled = await draw(properties, exampleRows({ a: "long", b: "long" }, ...rows.reverse()));
    expect(shuffled).to.deep.equal(spec);
    // Chosen evenly, not from one end.
    expect(spec.data.values.filter(({ x }) => Number(x) < 1_500).length).to.be.within(25, 75);
  });

  it("is one row over an input without rows", async () => {
    const spec = await draw({ mark: "bar", x: { column: "a" }, y: { aggregate: "count" } }, exampleRows({ a: "long" }));
    expect([spec.description, spec.data.values]).to.deep.equal(["All 0 rows of data.", []]);
  });

  it("keeps names and titles apart from SQL and JSON", async () => {
    const input = exampleRows({ "a\"b'c\\": "long" }, [1]);
    const title = `It's "quoted" \\ and; --`;
    const spec = await draw(
      { mark: "point", x: { column: "a\"b'c\\" }, y: { column: "a\"b'c\\", title }, title },
      input,
    );
    expect([spec.title, spec.encoding.x!.title, spec.encoding.y!.title]).to.deep.equal([title, "a\"b'c\\", title]);
    expect(spec.data.values).to.deep.equal([{ x: 1, y: 1 }]);
  });

  it("says which channels a mark needs and takes, and which columns cannot be drawn", async () => {
    const x = { column: "origin" };
    const wrong: [Properties, RegExp][] = [
      [{ mark: "bar", x }, /^y: A chart with the mark bar needs "y"/],
      [
        { mark: "bar", x, y: { column: "origin", aggregate: "sum" } },
        /^y.column: This needs numbers, and "origin" is string/,
      ],
      [{ mark: "histogram", x }, /^x.column: This needs numbers/],
      [{ mark: "arc", x, y: { aggregate: "count" }, color: x }, /^x: The mark arc has no "x"/],
      [
        { mark: "arc", y: { column: "delay", aggregate: "mean" }, color: x },
        /^y.aggregate: The slices of an arc are parts of a whole/,
      ],
      [{ mark: "bar", x: { aggregate: "sum" }, y: { aggregate: "count" } }, /^x.column: Name a column/],
      [
        { mark: "bar", x: { column: "raw" }, y: { aggregate: "count" } },
        /^x.column: "raw" is binary, which cannot be drawn/,
      ],
      [{ mark: "bar", x: { column: "nope" }, y: { aggregate: "count" } }, /^x.column: There is no column "nope"/],
      [
        { mark: "boxplot", y: { column: "delay", aggregate: "mean" } },
        /^y.aggregate: The mark boxplot takes no aggregate/,
      ],
      [{ mark: "pie", x }, /"mark" is "pie"/],
    ];
    for (const [properties, finding] of wrong) {
      const found = await runs.findings("chart", properties, [FLIGHTS]);
      expect(found, JSON.stringify(properties)).to.have.length(1);
      expect(found[0]).to.match(finding);
    }
  });
});
