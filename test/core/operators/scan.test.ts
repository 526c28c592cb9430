import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { compile } from "../../../src/core/compile.js";
import { formatOfFile, NO_WISH } from "../../../src/core/file-format.js";
import { OPERATOR_TYPES } from "../../../src/core/operators/catalogue.js";
import type { DatasetScan, Encoding, LogicalOperator, Properties } from "../../../src/core/plan.js";
import { planDigest } from "../../../src/rpc/plan-codec.js";
import { createSchemaBinder, type SchemaBinder } from "../../../src/server/binding/schema-binder.js";
import { sniffFile } from "../../../src/server/datasets/dataset-sniffing.js";
import { ran, rowsOf, scratch } from "../../support/plan-runs.js";

/** Registers a file as a server does, compiles a scan of it and runs that on the engine. */
describe("a scan", function () {
  this.timeout(60_000);
  const files = scratch();
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(async () => {
    await binder.close();
    files.remove();
  });

  let count = 0;
  async function register(name: string, content: string | Buffer, encoding: Encoding = ""): Promise<DatasetScan> {
    const path = join(files.directory, `${++count}-${name}`);
    writeFileSync(path, content);
    const format = formatOfFile(path, { ...NO_WISH, encoding });
    const { schema, ...found } = await sniffFile(path, format, new AbortController().signal);
    return {
      datasetId: "d",
      datasetName: "data",
      version: 1,
      contentHash: `content ${count}`,
      uri: pathToFileURL(path).href,
      byteCount: BigInt(statSync(path).size),
      fileSchema: schema,
      offset: 0n,
      limit: undefined,
      malformedRows: "fail",
      format: found.format,
      rowCount: found.rowCount,
    };
  }

  async function planOf(dataset: DatasetScan, settings: Properties) {
    const common = { displayName: "", disabled: false, viewResult: true };
    const operators: LogicalOperator[] = [
      { id: "scan", type: "scan", properties: { dataset: "data", ...settings }, ...common },
      { id: "all", type: "filter", properties: { predicate: "true" }, ...common },
    ];
    const compiled = await compile(
      { operators, links: [{ from: "scan", fromPort: 0, to: "all", toPort: 0 }] },
      { resolveDataset: async () => dataset, bindSchemas: binder.bindSchemas, planDigest },
    );
    if (!compiled.ok) throw new Error(compiled.diagnostics.map(({ message }) => message).join(" "));
    return compiled.plan;
  }

  async function read(dataset: DatasetScan, settings: Properties = {}) {
    const results = scratch();
    try {
      const done = await ran(await planOf(dataset, settings), {
        resultPrefix: results.uri,
        workDirectory: join(results.directory, "work"),
      });
      const malformed = done.manifest.statistics.find(({ operatorId }) => operatorId === "scan")?.malformedRows;
      const rows = done.state === "COMPLETED" ? await rowsOf(done.fileOf("scan")) : [];
      return { state: done.state, failure: done.manifest.failure, rows, malformed };
    } finally {
      results.remove();
    }
  }

  const CSV = Buffer.from('id,name\n1,ann\n2,"bob"\n3\n4,cid,x\n5,dora\n6,"e"f\n7,gil\n8,ren\xe9\n', "latin1");

  it("leaves malformed rows out and counts them, whichever columns it reads", async () => {
    const dataset = await register("people.csv", CSV);
    expect(await read(dataset, { malformedRows: "skip" })).to.deep.include({
      state: "COMPLETED",
      rows: [
        ["1", "ann"],
        ["2", "bob"],
        ["5", "dora"],
        ["7", "gil"],
      ],
      malformed: 4n,
    });
    const one = await read(dataset, { malformedRows: "skip", columns: ["ID"] });
    expect([one.rows, one.malformed]).to.deep.equal([[["1"], ["2"], ["5"], ["7"]], 4n]);
    const json = await register("people.jsonl", '{"a":1}\n{"a"\n[2]\n{"a":3}\n{"a":4}\n');
    expect(await read(json, { malformedRows: "skip" })).to.deep.include({ rows: [["1"], ["3"], ["4"]], malformed: 2n });
  });

  it("fails at the line of the first malformed row unless told to skip it", async () => {
    const { state, failure } = await read(await register("people.csv", CSV));
    expect([state, failure?.reason, failure?.operatorId]).to.deep.equal(["FAILED", "QUERY_FAILED", "scan"]);
    expect(failure?.message).to.equal(
      'A row of a dataset is malformed, line 4: it has 1 fields where 2 are expected. Correct the file and register it again, or set "malformedRows" of its scan to "skip".',
    );
    const json = await read(await register("people.jsonl", '{"a":1}\n{"a"\n{"a":3}\n'));
    expect(json.failure?.message).to.match(/malformed, line 3: it is no JSON \(unexpected .*\)\. Correct the file/);
  });

  it("passes over the offset and stops at the limit, in the order of the file", async () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => `${i}`);
    const dataset = await register("numbers.csv", `n\n${rows.join("\n")}\n`);
    expect((await read(dataset, { offset: 40_000, limit: 3 })).rows).to.deep.equal([["40000"], ["40001"], ["40002"]]);
    expect((await read(dataset, { offset: 49_999 })).rows).to.deep.equal([["49999"]]);
    expect((await read(dataset, { limit: 0 })).rows).to.deep.equal([]);
    expect((await read(dataset, { offset: 60_000, limit: 1 })).rows).to.deep.equal([]);
    const people = await register("people.csv", CSV);
    const second = await read(people, { malformedRows: "skip", offset: 2, limit: 1, columns: ["name"] });
    expect(second.rows).to.deep.equal([["dora"]]);
  });

  it("reads the encodings a dataset may have", async () => {
    const text = "größe,b\n1,é\n2,ß\n";
    for (const [encoding, bytes] of [
      ["latin-1", Buffer.from(text, "latin1")],
      ["utf-16", Buffer.from(`\uFEFF${text}`, "utf16le")],
      ["utf-8", Buffer.from(text)],
    ] as const) {
      const { rows } = await read(await register("umlauts.csv", bytes, encoding), {
        columns: ["b", "GRÖßE"],
      });
      expect(rows, encoding).to.deep.equal([
        ["é", "1"],
        ["ß", "2"],
      ]);
    }
  });

  it("has another fingerprint for other rows of the same file", async () => {
    const dataset = await register("people.csv", CSV);
    const settings: Properties[] = [{}, { offset: 1 }, { limit: 9 }, { malformedRows: "skip" }];
    const plans = await Promise.all(settings.map((one) => planOf(dataset, one)));
    const hashes = plans.map((plan) => plan.operators[0]!.outputs[0]!.subdagHash);
    expect(new Set(hashes).size).to.equal(4);
  });

  it("says what is wrong with its settings", () => {
    const findings = (properties: Properties) => {
      const settings = OPERATOR_TYPES.get("scan")!.read({ dataset: "d", ...properties });
      return "findings" in settings ? settings.findings.map((f) => `${f.property}: ${f.message}`) : [];
    };
    expect(findings({ offset: -1 })[0]).to.match(/^offset: "offset" must be at least 0/);
    expect(findings({ limit: 1.5 })[0]).to.match(/^limit: /);
    expect(findings({ malformedRows: "ignore" })[0]).to.match(/^malformedRows: .*one of: "fail", "skip"/);
    expect(findings({ columns: ["a", "A"] })[0]).to.match(/^columns.1: /);
  });
});
