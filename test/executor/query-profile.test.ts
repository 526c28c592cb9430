// Row counts of fused operators, read off DuckDB's profile: right, or not told.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import fc from "fast-check";
import { parseProfile, rowsOfPorts } from "../../src/executor/run/query-profile.js";
import { columns, type OperatorDraft, planOf, query, scan } from "../support/physical-plans.js";
import { ran, scratch } from "../support/plan-runs.js";

const KV = columns("k:long v:long");

/** Steps as operators: a type, its SQL, and which earlier ones it reads. */
interface Drawn {
  type: string;
  sql: string;
  reads: number[];
}

const ONE_INPUT: [type: string, sql: string][] = [
  ["filter", "select * from input0 where v % 3 <> 1"],
  ["filter", "select * from input0 where k < 900"],
  ["filter", "select * from input0 where k = 7"],
  ["derive", "select k, v + 1 as v from input0"],
  ["sort", "select * from input0 order by v, k"],
  ["window", "select k, row_number() over (order by v, k) as v from input0"],
  ["aggregate", "select k, sum(v)::bigint from input0 group by k"],
  ["aggregate", "select count(*), max(v) from input0"],
  ["distinct", "select distinct * from input0"],
  ["limit", "select * from input0 order by v, k limit 20"],
];
const JOINS = ["join", "left join", "right join", "full join"].map((kind): [string, string] => [
  "join",
  `select coalesce(l.k, r.k), l.v from input0 l ${kind} input1 r on l.k = r.k`,
]);
JOINS.push(["join", "select l.* from input0 l semi join input1 r on l.k = r.k"]);
JOINS.push(["union", "select * from input0 union all select * from input1"]);

/** After the scans 0 and 1, each step reads steps before it. */
const drawings: fc.Arbitrary<Drawn[]> = fc
  .array(fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.boolean()), { minLength: 1, maxLength: 6 })
  .map((choices) =>
    choices.map(([what, first, second, isJoin], n): Drawn => {
      // Mostly the step just before, so that much is fused.
      const input = (choice: number) => (choice % 3 === 0 ? choice % (n + 2) : n + 1);
      const list = isJoin ? JOINS : ONE_INPUT;
      const [type, sql] = list[what % list.length]!;
      return { type, sql, reads: isJoin ? [input(first), second % (n + 2)] : [input(first)] };
    }),
  );

describe("rows of fused operators", function () {
  this.timeout(120_000);
  let place: ReturnType<typeof scratch>;
  let instance: DuckDBInstance;
  let connection: DuckDBConnection;
  before(async () => {
    place = scratch();
    instance = await DuckDBInstance.create(":memory:");
    connection = await instance.connect();
    for (const [n, name] of ["a", "b"].entries()) {
      await connection.run(
        `create table step${n} as select (hash(range + ${n}) % 1500)::bigint k, (hash(range * 7 + ${n}) % 1000)::bigint v from range(${1_500 - n * 1_000})`,
      );
      await connection.run(`copy step${n} to '${join(place.directory, `${name}.parquet`)}'`);
    }
  });
  after(() => {
    connection.closeSync();
    instance.closeSync();
    place.remove();
  });

  /** What every step gives, computed one after the other. */
  async function truth(drawn: Drawn[]): Promise<number[]> {
    const counts: number[] = [];
    for (const [n, { sql, reads }] of drawn.entries()) {
      const inputs = reads.map((read, i) => `input${i} as (from step${read})`).join(", ");
      await connection.run(`create or replace table step${n + 2} as with ${inputs} select * from (${sql}) as t(k, v)`);
      const [[rows]] = (await (await connection.run(`select count(*)::integer from step${n + 2}`)).getRows()) as [
        [number],
      ];
      counts.push(rows);
    }
    return counts;
  }

  const scanned = (name: string) =>
    scan(name, KV, {
      uri: pathToFileURL(join(place.directory, `${name}.parquet`)).href,
      format: { kind: "parquet", delimiter: "", header: undefined, encoding: "" },
    });
  let runs = 0;
  async function told(drawn: Drawn[]): Promise<Map<string, bigint>> {
    const ids = ["a", "b", ...drawn.map((_, n) => `s${n}`)];
    const drafts = drawn.map(
      ({ type, sql, reads }, n): OperatorDraft => ({
        ...query(
          ids[n + 2]!,
          type,
          reads.map(() => KV),
          sql,
          KV,
        ),
        materialized: n === drawn.length - 1,
      }),
    );
    const links = drawn.flatMap(({ reads }, n) => reads.map((read, port) => `${ids[read]}>${ids[n + 2]}:${port}`));
    const resultPrefix = `${pathToFileURL(join(place.directory, `run-${runs++}`)).href}/`;
    const { manifest } = await ran(planOf([scanned("a"), scanned("b"), ...drafts], links), {
      resultPrefix,
      workDirectory: place.directory,
    });
    expect(manifest.failure).to.equal(undefined);
    return new Map(
      manifest.statistics.flatMap(({ operatorId, outputRows }) =>
        outputRows === undefined ? [] : [[operatorId, outputRows]],
      ),
    );
  }

  it("are never told wrong, however the query is rearranged", async () => {
    await fc.assert(
      fc.asyncProperty(drawings, async (drawn) => {
        const counts = await truth(drawn);
        const rows = await told(drawn);
        for (const [n, count] of counts.entries()) {
          const said = rows.get(`s${n}`);
          if (said !== undefined) expect(said, `s${n} of ${JSON.stringify(drawn)}`).to.equal(BigInt(count));
        }
        if (rows.has("a")) expect(rows.get("a")).to.equal(1_500n);
        if (rows.has("b")) expect(rows.get("b")).to.equal(500n);
      }),
      {
        numRuns: 60,
        // DuckDB makes a filter of the least key that the other side has, and moves it below the aggregate.
        examples: [
          [
            [
              { type: "aggregate", sql: "select k, sum(v)::bigint from input0 group by k", reads: [0] },
              {
                type: "join",
                sql: "select coalesce(l.k, r.k), l.v from input0 l join input1 r on l.k = r.k",
                reads: [2, 1],
              },
            ],
          ],
        ],
      },
    );
  });

  it("are told of a filter, a join and an aggregate one after the other", async () => {
    const drawn: Drawn[] = [
      { type: "filter", sql: "select * from input0 where v % 3 <> 1", reads: [0] },
      { type: "join", sql: "select l.* from input0 l left join input1 r on l.k = r.k", reads: [2, 1] },
      { type: "aggregate", sql: "select k, sum(v)::bigint from input0 group by k", reads: [3] },
      { type: "sort", sql: "select * from input0 order by v, k", reads: [4] },
    ];
    const counts = await truth(drawn);
    const rows = await told(drawn);
    expect(drawn.map((_, n) => rows.get(`s${n}`))).to.deep.equal(counts.map(BigInt));
  });

  it("are not told when the profile is none, or is another query's", () => {
    expect(parseProfile("nonsense")).to.equal(undefined);
    const profile = parseProfile(
      '{"system_peak_buffer_memory": 5, "children": [{"operator_type": "PROJECTION", "operator_cardinality": 3}]}',
    )!;
    expect(profile.peakMemoryBytes).to.equal(5n);
    const fused = { ports: new Map([["p", { operatorType: "filter", inputs: [] }]]), root: "p" };
    expect([...rowsOfPorts(fused, profile, 4n)]).to.deep.equal([]);
    expect(rowsOfPorts({ ...fused, root: undefined }, profile, 3n)).to.have.length(0);
  });
});
