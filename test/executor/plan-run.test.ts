import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect } from "chai";
import { RunState } from "../../src/contract/postern/v1/execution.js";
import { portKeyToWire } from "../../src/rpc/plan-codec.js";
import { columns, outputKey, planOf, query, scan, userFunction } from "../support/physical-plans.js";
import { ran, rowsOf, scratch } from "../support/plan-runs.js";

const ORDERS = columns("id:long customer:integer amount:double at:timestamp");
const CUSTOMERS = columns("id:integer name:string");

describe("running a plan", () => {
  let place: ReturnType<typeof scratch>;
  let results: string;
  let options: { resultPrefix: string; workDirectory: string };
  beforeEach(() => {
    place = scratch();
    results = join(place.directory, "results");
    options = { resultPrefix: `${pathToFileURL(results).href}/1/`, workDirectory: place.directory };
  });
  afterEach(() => place.remove());

  function file(name: string, content: string) {
    const path = join(place.directory, name);
    writeFileSync(path, content);
    return { uri: pathToFileURL(path).href, byteCount: BigInt(Buffer.byteLength(content)) };
  }
  const orders = (count = 1_000) => {
    const lines = Array.from(
      { length: count },
      (_, i) => `${i + 1},${(i % 7) + 1},${(i % 100) / 2},2026-01-${String((i % 28) + 1).padStart(2, "0")} 10:00:00`,
    );
    return { ...file("orders.csv", `id,customer,amount,at\n${lines.join("\n")}\n`), rowCount: BigInt(count) };
  };
  const customers = () =>
    file("customers.csv", `id,name\n${[1, 2, 3, 4, 5].map((id) => `${id},"customer, no. ${id}"`).join("\n")}\n`);

  it("joins, calls a function, aggregates and sorts, and writes what is to be kept", async () => {
    const joined = columns("id:long customer:integer amount:double at:timestamp name:string");
    const withFee = [...joined, ...columns("fee:double")];
    const totals = columns("name:string orders:long fees:double");
    const plan = planOf(
      [
        scan("orders", ORDERS, orders()),
        scan("customers", CUSTOMERS, customers()),
        query("large", "filter", [ORDERS], "select * from input0 where amount >= 10", ORDERS),
        query(
          "joined",
          "join",
          [ORDERS, CUSTOMERS],
          "select l.*, r.name from input0 l join input1 r on l.customer = r.id",
          joined,
        ),
        userFunction(
          "fee",
          "javascript",
          joined,
          "function processTuple(t) { return { fee: Math.round(t.amount * 10) / 100 }; }",
          withFee,
          true,
        ),
        query("totals", "aggregate", [withFee], "select name, count(*), sum(fee) from input0 group by name", totals),
        {
          ...query("sorted", "sort", [totals], "select * from input0 order by fees desc, name", totals),
          materialized: true,
          subdagHash: "ab".repeat(32),
        },
      ],
      ["orders>large", "large>joined", "customers>joined:1", "joined>fee", "fee>totals", "totals>sorted"],
    );
    const { state, manifest, fileOf, events } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(state).to.equal("COMPLETED");
    const rows = await rowsOf(fileOf("sorted"));
    expect(rows).to.have.length(5);
    const fees = rows.map((row) => Number(row[2]));
    expect(fees).to.deep.equal(fees.toSorted((a, b) => b - a));
    const paired = Array.from({ length: 1_000 }, (_, i) => ({ c: (i % 7) + 1, a: (i % 100) / 2 })).filter(
      ({ c, a }) => c <= 5 && a >= 10,
    );
    const expected = paired.reduce((sum, { a }) => sum + Math.round(a * 10) / 100, 0);
    expect(fees.reduce((a, b) => a + b)).to.be.closeTo(expected, 1e-6);

    expect(manifest.ports.map((p) => [p.key?.operatorId, p.rowCount])).to.deep.equal([["sorted", 5n]]);
    expect(manifest.ports[0]?.byteCount).to.equal(BigInt(statSync(fileOf("sorted")).size));
    expect(manifest.cacheCommits, "nothing was reserved").to.deep.equal([]);
    const byId = new Map(manifest.statistics.map((s) => [s.operatorId, s]));
    expect([...byId.keys()]).to.have.members(plan.operators.map((o) => o.operatorId));
    expect([...byId.values()].every((s) => s.state === RunState.RUN_STATE_COMPLETED)).to.equal(true);
    expect(byId.get("orders")?.outputRows).to.equal(1_000n);
    expect(byId.get("fee")?.inputRows).to.equal(byId.get("joined")?.outputRows);
    expect(byId.get("large")?.outputRows, "right or absent").to.be.oneOf([undefined, 800n]);
    expect(byId.get("joined")?.outputRows).to.equal(BigInt(paired.length));
    expect(byId.get("totals")?.outputRows).to.equal(5n);
    const kinds = events.map((e) => e.$case);
    expect(kinds.indexOf("portResult")).to.be.greaterThan(kinds.indexOf("operatorState"));
    const lines = readFileSync(new URL(manifest.statisticsUri), "utf8").trim().split("\n");
    expect(lines.map((l) => JSON.parse(l).operatorId)).to.include("fee");
    expect(readdirSync(join(results, "1")).toSorted()).to.deep.equal(["sorted.main.0.parquet", "statistics.jsonl"]);
    expect(statSync(results).mode & 0o777).to.equal(0o700);
  });

  it("keeps the order of a sort in the file, through a limit and through a function", async () => {
    const schema = columns("i:long k:integer");
    const sorted = "select i, k from input0 order by k desc, i";
    const plan = planOf(
      [
        scan(
          "numbers",
          schema,
          file("n.csv", `i,k\n${Array.from({ length: 300_000 }, (_, i) => `${i},${i % 11}`).join("\n")}\n`),
        ),
        { ...query("sort", "sort", [schema], sorted, schema) },
        { ...query("limit", "limit", [schema], "select * from input0 limit 200000", schema), materialized: true },
        { ...query("all", "project", [schema], "select i, k from input0", schema), materialized: true },
        { ...userFunction("same", "javascript", schema, "const processTuple = (t) => t;", schema), materialized: true },
      ],
      ["numbers>sort", "sort>limit", "sort>all", "sort>same"],
    );
    const { manifest, fileOf } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    for (const [id, rows] of [
      ["limit", 200_000],
      ["all", 300_000],
      ["same", 300_000],
    ] as const) {
      const [counts] = await rowsOf(
        fileOf(id),
        `select count(*), count(*) filter ((k, -i) > (pk, -pi)) from (select k, i, lag(k) over w pk, lag(i) over w pi
         from ?  window w as (order by file_row_number))`.replace(
          "?",
          `read_parquet('${fileOf(id)}', file_row_number = true)`,
        ),
      );
      expect(counts, id).to.deep.equal([String(rows), "0"]);
    }
  }).timeout(30_000);

  it("does not compute again what an earlier try has left, and says so", async () => {
    const schema = columns("id:integer name:string");
    const plan = planOf(
      [
        { ...scan("customers", CUSTOMERS, customers()), materialized: true },
        { ...query("last", "filter", [schema], "select * from input0 where id > 3", schema), materialized: true },
      ],
      ["customers>last"],
      ["0: customers", "1: last"],
    );
    const first = await ran(plan, options);
    const [kept] = first.manifest.ports;
    const again = { ...options, resultPrefix: `${pathToFileURL(results).href}/2/` };
    const second = await ran(plan, { ...again, spec: { alreadyMaterialized: [kept!], attempt: 2 } });
    expect(second.state).to.equal("COMPLETED");
    expect(second.manifest.ports.map((p) => p.key)).to.deep.equal([portKeyToWire(outputKey("last"))]);
    const states = second.manifest.statistics.map((s) => [s.operatorId, s.state]);
    expect(states).to.deep.equal([
      ["customers", RunState.RUN_STATE_COMPLETED_FROM_CACHE],
      ["last", RunState.RUN_STATE_COMPLETED],
    ]);
    expect(second.manifest.statistics[1]?.inputRows).to.equal(5n);
    expect(await rowsOf(second.fileOf("last"))).to.have.length(2);
  });

  it("computes again what an earlier try has left in part only", async () => {
    const plan = planOf([{ ...scan("customers", CUSTOMERS, customers()), materialized: true }], []);
    const first = await ran(plan, options);
    const kept = first.manifest.ports[0]!;
    const spec = { alreadyMaterialized: [{ ...kept, byteCount: kept.byteCount + 1n }], attempt: 2 };
    const second = await ran(plan, { ...options, resultPrefix: `${pathToFileURL(results).href}/2/`, spec });
    expect(second.manifest.ports).to.have.length(1);
  });

  it("computes again what an earlier try has left and somebody has removed since", async () => {
    const plan = planOf([{ ...scan("customers", CUSTOMERS, customers()), materialized: true }], []);
    const first = await ran(plan, options);
    const kept = first.manifest.ports[0]!;
    rmSync(fileURLToPath(kept.uri));
    const spec = { alreadyMaterialized: [kept], attempt: 2 };
    const second = await ran(plan, { ...options, resultPrefix: `${pathToFileURL(results).href}/2/`, spec });
    expect(second.state).to.equal("COMPLETED");
    expect(second.manifest.ports).to.have.length(1);
    expect(await rowsOf(second.fileOf("customers"))).to.have.length(5);
  });

  it("tells time, memory and state of every operator of a long query, fused or not, at least twice a second", async () => {
    const schema = columns("n:long");
    const sql = "select (a.range * b.range) % 1000003 from range(4000) a, range(30000) b";
    const plan = planOf(
      [
        query("many", "text", [], sql, schema),
        query("some", "filter", [schema], "select * from input0 where n % 7 <> 3", schema),
        {
          ...query("one", "aggregate", [schema], "select count(distinct n) from input0", schema),
          materialized: true,
        },
      ],
      ["many>some", "some>one"],
    );
    const { manifest, events } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    for (const { operatorId, busyMs, peakMemoryBytes } of manifest.statistics) {
      expect(peakMemoryBytes > 0n, operatorId).to.equal(true);
      const told = events.filter((e) => e.$case === "operatorStatistics" && e.value.operatorId === operatorId);
      const live = told.filter((e) => e.$case === "operatorStatistics" && e.value.state === RunState.RUN_STATE_RUNNING);
      expect(live.length, `${operatorId} in ${busyMs} ms`).to.be.at.least(Math.floor(Number(busyMs) / 1_000));
      expect(live.length, operatorId).to.be.greaterThan(0);
    }
  }).timeout(60_000);

  it("unites the rows of several links that enter one port", async () => {
    const plan = planOf(
      [
        scan("a", CUSTOMERS, customers()),
        scan("b", CUSTOMERS, customers()),
        { ...query("both", "union", [CUSTOMERS], "select * from input0", CUSTOMERS), materialized: true },
      ],
      ["a>both", "b>both"],
    );
    expect(await rowsOf((await ran(plan, options)).fileOf("both"))).to.have.length(10);
  });

  it("reads one operator from two places of one query", async () => {
    const plan = planOf(
      [
        scan("c", CUSTOMERS, customers()),
        {
          ...query(
            "pairs",
            "join",
            [CUSTOMERS, CUSTOMERS],
            "select l.id, r.name from input0 l join input1 r on l.id < r.id",
            CUSTOMERS,
          ),
          materialized: true,
        },
      ],
      ["c>pairs:0", "c>pairs:1"],
    );
    expect(await rowsOf((await ran(plan, options)).fileOf("pairs"))).to.have.length(10);
  });

  it("reads JSON and Parquet as registered, types included", async () => {
    const schema = columns("n:long s:string at:timestamp");
    const json = file(
      "d.json",
      '{"n": 9007199254740993, "s": "1", "at": "2026-02-03T04:05:06"}\n{"n": null, "s": "2"}\n',
    );
    const format = { kind: "json", delimiter: "", header: undefined, encoding: "" } as const;
    const write = await ran(planOf([{ ...scan("j", schema, { ...json, format }), materialized: true }], []), options);
    const uri = pathToFileURL(write.fileOf("j")).href;
    const parquet = { uri, format: { kind: "parquet", delimiter: "", header: undefined, encoding: "" } as const };
    const read = await ran(planOf([{ ...scan("p", schema, parquet), materialized: true }], []), {
      ...options,
      resultPrefix: `${pathToFileURL(results).href}/2/`,
    });
    expect(await rowsOf(read.fileOf("p"))).to.deep.equal([
      ["9007199254740993", "1", "2026-02-03 04:05:06"],
      [null, "2", null],
    ]);
  });

  describe("that cannot end well", () => {
    const scanOf = (dataset: { uri: string; byteCount?: bigint }) =>
      planOf([{ ...scan("c", CUSTOMERS, dataset), materialized: true }], []);

    it("names the dataset whose file is gone", async () => {
      const { state, manifest } = await ran(scanOf({ uri: "file:///nowhere/at/all.csv" }), options);
      expect(state).to.equal("FAILED");
      expect(manifest.failure).to.include({ reason: "INPUT_UNREADABLE", operatorId: "c" });
      expect(manifest.failure?.message).to.match(
        /^Dataset c version 1 cannot be read from \/nowhere\/at\/all.csv: no such file/,
      );
    });

    it("refuses a dataset whose file has another size than was registered", async () => {
      const changed = customers();
      const { manifest } = await ran(scanOf({ ...changed, byteCount: changed.byteCount + 1n }), options);
      expect(manifest.failure?.reason).to.equal("DATASET_CHANGED");
    });

    it("names a dataset that lies where this executor cannot read", async () => {
      const { manifest } = await ran(scanOf({ uri: "s3://bucket/key.csv" }), options);
      expect(manifest.failure?.reason).to.equal("INPUT_UNREADABLE");
    });

    it("keeps DuckDB's words about a value that cannot be converted, and names the operators of the query", async () => {
      const schema = columns("n:integer");
      const plan = planOf(
        [
          scan("c", CUSTOMERS, customers()),
          query("cut", "project", [CUSTOMERS], "select name from input0", columns("name:string")),
          {
            ...query("n", "derive", [columns("name:string")], "select cast(name as integer) from input0", schema),
            materialized: true,
          },
        ],
        ["c>cut", "cut>n"],
      );
      const { manifest, state } = await ran(plan, options);
      expect(state).to.equal("FAILED");
      expect(manifest.failure).to.include({ reason: "QUERY_FAILED", operatorId: "n" });
      expect(manifest.failure?.message).to.match(
        /Conversion Error: Could not convert string 'customer, no. 1' to INT32/,
      );
      expect(manifest.failure?.detail).to.include("c, cut, n");
      expect(manifest.ports).to.deep.equal([]);
      expect(readdirSync(join(results, "1"))).to.deep.equal(["statistics.jsonl"]);
    });

    it("says that storage is unsupported for results that do not go to a local directory", async () => {
      const { manifest } = await ran(scanOf(customers()), { ...options, resultPrefix: "s3://bucket/1/" });
      expect(manifest.failure?.reason).to.equal("STORAGE_UNSUPPORTED");
    });

    it("says what stands in the way of the result directory", async () => {
      const { uri } = file("in-the-way", "");
      const { manifest } = await ran(scanOf(customers()), { ...options, resultPrefix: `${uri}/1/` });
      expect(manifest.failure?.reason).to.equal("STORAGE_UNWRITABLE");
      expect(manifest.failure?.message).to.match(
        /^The executor cannot write .*in-the-way\/1\/?: a part of the path is not a directory; /,
      );
    });

    it("says that memory is used up, and which operator did it", async () => {
      const schema = columns("n:long");
      const plan = planOf(
        [
          scan("c", CUSTOMERS, customers()),
          {
            ...query("hog", "aggregate", [CUSTOMERS], "select len(list(range)) from range(200000000)", schema),
            materialized: true,
          },
        ],
        ["c>hog"],
      );
      const { manifest } = await ran(plan, { ...options, memoryLimitMb: 100 });
      expect(manifest.failure).to.include({ reason: "OUT_OF_MEMORY", operatorId: "hog" });
    }).timeout(30_000);

    it("says that temporary space is used up, and which operator did it", async () => {
      const schema = columns("n:long s:string");
      const sql = "select range as n, repeat(md5(range::text), 4) as s from range(2000000) order by s";
      const plan = planOf([{ ...query("hog", "sort", [], sql, schema), materialized: true }], []);
      const { manifest } = await ran(plan, { ...options, memoryLimitMb: 100, tempMaxMb: 10 });
      expect(manifest.failure).to.include({ reason: "TEMPORARY_SPACE_FULL", operatorId: "hog" });
      expect(manifest.failure?.message).to.include("POSTERN_TEMP_MAX_MB");
    }).timeout(30_000);

    it("refuses a plan of a newer format, and one that is not what its digest says", async () => {
      const other = await ran(scanOf(customers()), { ...options, spec: { planDigest: "00".repeat(32) } });
      expect(other.manifest.failure?.message).to.match(/^The plan is not the one its digest names/);
      const plan = scanOf(customers());
      const newer = await ran({ ...plan, format: 2 }, options);
      expect(newer.manifest.failure?.reason).to.equal("PLAN_INVALID");
      expect(newer.manifest.failure?.message).to.include("upgrade");
    });

    it("reads no file but its own, whatever the plan's SQL says", async () => {
      const secret = file("secret.csv", "password\nhunter2\n");
      const path = new URL(secret.uri).pathname;
      for (const sql of [
        `select password, '' from read_csv('${path}')`,
        `select content, '' from read_text('${path}')`,
        `select 1, 'x'); copy (select 1) to '${place.directory}/stolen.csv`,
      ]) {
        const plan = planOf(
          [
            scan("c", CUSTOMERS, customers()),
            { ...query("q", "filter", [CUSTOMERS], sql, CUSTOMERS), materialized: true },
          ],
          ["c>q"],
        );
        const { manifest } = await ran(plan, options);
        expect(manifest.failure?.reason, sql).to.equal("QUERY_FAILED");
      }
      expect(existsSync(join(place.directory, "stolen.csv"))).to.equal(false);
    });

    it("is KILLED when stopped in the middle of a query, and leaves no half-written file", async () => {
      const schema = columns("n:long");
      const plan = planOf(
        [
          scan("c", CUSTOMERS, customers()),
          {
            ...query(
              "long",
              "join",
              [CUSTOMERS],
              "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
              schema,
            ),
            materialized: true,
          },
        ],
        ["c>long"],
      );
      const stop = new AbortController();
      const running = ran(plan, { ...options, signal: stop.signal });
      setTimeout(() => stop.abort(), 300);
      const { state, manifest } = await running;
      expect(state).to.equal("KILLED");
      expect(manifest.failure).to.equal(undefined);
      expect(manifest.statistics.find((s) => s.operatorId === "long")?.state).to.equal(RunState.RUN_STATE_KILLED);
      expect(readdirSync(join(results, "1"))).to.deep.equal(["statistics.jsonl"]);
    });
  });
});
