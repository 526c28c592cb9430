// Operators with several output ports, with none to read, and scans of a part of a file.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { globalPortId } from "../../src/core/plan.js";
import {
  columns,
  type OperatorDraft,
  outputKey,
  planOf,
  query,
  scan,
  userFunction,
} from "../support/physical-plans.js";
import { ran, rowsOf, scratch } from "../support/plan-runs.js";

const N = columns("n:long");
const viewed = (draft: OperatorDraft): OperatorDraft => ({ ...draft, materialized: true });

const split = (id: string): OperatorDraft => ({
  ...query(id, "split", [N], "select * from input0 where n % 3 = 0", N),
  furtherOutputs: [N, columns("half:double")],
  implementation: {
    kind: "query",
    sql: "select * from input0 where n % 3 = 0",
    furtherSql: ["select * from input0 where n % 3 = 1", "select n / 2 from input0 where n % 3 = 2"],
  },
});

describe("operators with several output ports", () => {
  let place: ReturnType<typeof scratch>;
  let options: { resultPrefix: string; workDirectory: string };
  beforeEach(() => {
    place = scratch();
    const results = join(place.directory, "results");
    options = { resultPrefix: `${pathToFileURL(results).href}/1/`, workDirectory: place.directory };
  });
  afterEach(() => place.remove());

  function numbers(count = 30) {
    const path = join(place.directory, "n.csv");
    writeFileSync(path, `n\n${Array.from({ length: count }, (_, i) => i).join("\n")}\n`);
    return { uri: pathToFileURL(path).href, rowCount: BigInt(count) };
  }

  it("write each viewed port with its own columns, and count the rows of all of them", async () => {
    const plan = planOf([scan("s", N, numbers()), viewed(split("split"))], ["s>split"]);
    const { manifest, fileOf } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(manifest.ports.map(({ globalPortId: id, rowCount }) => [id, rowCount])).to.deep.equal(
      [0, 1, 2].map((n) => [globalPortId(outputKey("split", n)), 10n]),
    );
    expect(await rowsOf(fileOf("split", 1), "select min(n), max(n) from ?")).to.deep.equal([["1", "28"]]);
    expect(await rowsOf(fileOf("split", 2), "select sum(half) from ?")).to.deep.equal([[77.5]]);
    expect(manifest.statistics.find(({ operatorId }) => operatorId === "split")).to.include({
      inputRows: 30n,
      outputRows: 30n,
    });
  });

  it("feed several readers, of which one reads two ports", async () => {
    const plan = planOf(
      [
        scan("s", N, numbers()),
        query("even", "filter", [N], "select * from input0 where n % 2 = 0", N),
        split("split"),
        viewed(query("both", "union", [N, N], "select * from input0 union all select * from input1", N)),
        viewed(query("one", "filter", [N], "select * from input0 where n > 5", N)),
      ],
      ["s>even", "even>split", "split>both:0", "split:1>both:1", "split:1>one"],
    );
    const { manifest, fileOf } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(await rowsOf(fileOf("both"), "select count(*), sum(n) from ?")).to.deep.equal([["10", "140"]]);
    expect(await rowsOf(fileOf("one"), "from ? order by n")).to.deep.equal([["10"], ["16"], ["22"], ["28"]]);
  });

  it("compute only the port that an earlier try has not left", async () => {
    const plan = planOf([scan("s", N, numbers()), viewed(split("split"))], ["s>split"]);
    const first = await ran(plan, options);
    const kept = first.manifest.ports.filter(({ key }) => key?.portId !== 1);
    const second = await ran(plan, {
      ...options,
      resultPrefix: `${pathToFileURL(join(place.directory, "again")).href}/`,
      spec: { alreadyMaterialized: kept, attempt: 2 },
    });
    expect(second.manifest.failure).to.equal(undefined);
    expect(second.manifest.ports.map(({ key }) => key?.portId)).to.deep.equal([1]);
  });

  it("are refused when a port has no query", async () => {
    const plan = planOf([{ ...viewed(query("q", "split", [], "select 1", N)), furtherOutputs: [N] }], []);
    expect((await ran(plan, options)).manifest.failure).to.include({ reason: "PLAN_INVALID", operatorId: "q" });
  });

  it("may read nothing at all", async () => {
    const plan = planOf([viewed(query("text", "text", [], "select unnest([1, 2, 3])", N))], []);
    const { manifest, fileOf } = await ran(plan, options);
    expect(manifest.failure).to.equal(undefined);
    expect(await rowsOf(fileOf("text"))).to.deep.equal([["1"], ["2"], ["3"]]);
  });

  it("scan the part of a file they are told to, in its order", async () => {
    const part = { ...numbers(100_000), offset: 99_990n, limit: 4n };
    const plan = planOf(
      [scan("s", N, part), viewed(query("same", "project", [N], "select * from input0", N))],
      ["s>same"],
    );
    const { manifest, fileOf } = await ran(plan, options);
    expect(await rowsOf(fileOf("same"))).to.deep.equal([["99990"], ["99991"], ["99992"], ["99993"]]);
    expect(manifest.statistics[0]).to.include({ operatorId: "s", outputRows: 4n });
  });

  for (const consumer of ["query", "function"] as const)
    it(`leave out rows of CSV that do not fit when told to, count them and show the first, before a ${consumer}`, async () => {
      const path = join(place.directory, "m.csv");
      writeFileSync(path, "n,s\n1,a\nx,b\n3,c,more\n4,d\n");
      const schema = columns("n:long s:string");
      const dataset = { uri: pathToFileURL(path).href, malformedRows: "skip" } as const;
      const same =
        consumer === "query"
          ? query("same", "project", [schema], "select * from input0", schema)
          : userFunction("same", "javascript", schema, "const processTuple = (t) => t;", schema);
      const { manifest, events, fileOf } = await ran(
        planOf([scan("s", schema, dataset), viewed(same)], ["s>same"]),
        options,
      );
      expect(manifest.failure).to.equal(undefined);
      expect(await rowsOf(fileOf("same"))).to.deep.equal([
        ["1", "a"],
        ["4", "d"],
      ]);
      expect(manifest.statistics[0]).to.include({ operatorId: "s", malformedRows: 2n });
      const notes = events.flatMap((e) => (e.$case === "consoleMessage" ? [e.value.text] : []));
      expect(notes).to.have.length(3);
      expect(notes[0]).to.equal("2 rows of its file did not fit and were left out, the first of them:");
      expect(notes[1]).to.match(/^line 3: x,b \(/);
      expect(notes[2]).to.match(/^line 4/);
    });

  it("leave out lines of JSON that are no objects, and count them", async () => {
    const path = join(place.directory, "m.jsonl");
    writeFileSync(path, '{"n": 1}\nnot json\n[2]\n{"n": 3}\n');
    const format = { kind: "json", delimiter: "", header: undefined, encoding: "" } as const;
    const dataset = { uri: pathToFileURL(path).href, malformedRows: "skip", format } as const;
    const { manifest, fileOf } = await ran(planOf([viewed(scan("s", N, dataset))], []), options);
    expect(manifest.failure).to.equal(undefined);
    expect(await rowsOf(fileOf("s"))).to.deep.equal([["1"], ["3"]]);
    expect(manifest.statistics[0]).to.include({ malformedRows: 2n, outputRows: 2n });
  });
});
