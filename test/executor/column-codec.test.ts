// Columns on their way to user code and back: whatever DuckDB holds comes back as it was, from both languages.
import { DuckDBDataChunk, DuckDBInstance, type DuckDBValue, VARCHAR } from "@duckdb/node-api";
import { expect } from "chai";
import fc from "fast-check";
import type { AttributeType, Language } from "../../src/core/plan.js";
import { BatchEncoder } from "../../src/executor/user-code/batch-encoder.js";
import { readTexts, writeTexts } from "../../src/executor/user-code/duckdb-text.js";
import { outputChunks } from "../../src/executor/user-code/output-chunks.js";
import { PYTHON, tried } from "../support/function-runs.js";
import { columns } from "../support/physical-plans.js";

const TYPES: AttributeType[] = ["string", "integer", "long", "double", "boolean", "timestamp", "binary", "any"];
const SCHEMA = TYPES.map((type) => `${type}_column:${type}`).join(" ");

const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.constantFrom(
    "",
    "\x1f",
    "a\x1fb",
    "\0",
    "a\0b",
    "é".repeat(9),
    "x".repeat(12),
    "x".repeat(13),
    "𝄞".repeat(2_000),
    "\ufffd",
  ),
);
const SECONDS_OF_PYTHON = 253_402_300_799; // the end of the year 9999
const CELLS: Record<AttributeType, fc.Arbitrary<string>> = {
  string: text.map((value) => `'${value.replaceAll("'", "''").replaceAll("\0", "' || chr(0) || '")}'::varchar`),
  integer: fc.integer().map((value) => `(${value})::integer`),
  long: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => `('${value}')::bigint`),
  double: fc.double().map((value) => `'${String(value).replace("Infinity", "inf")}'::double`),
  boolean: fc.boolean().map((value) => `${value}::boolean`),
  timestamp: fc
    .tuple(fc.integer({ min: -62_135_596_800, max: SECONDS_OF_PYTHON }), fc.integer({ min: 0, max: 999_999 }))
    .map(([seconds, micros]) => `make_timestamp(${seconds}000000 + ${micros})`),
  binary: fc.uint8Array({ maxLength: 40 }).map((bytes) => `from_hex('${Buffer.from(bytes).toString("hex")}')::blob`),
  any: fc.jsonValue({ maxDepth: 2 }).map((value) => `'${JSON.stringify(value).replaceAll("'", "''")}'::varchar`),
};
const NULLS = {
  string: "varchar",
  integer: "integer",
  long: "bigint",
  double: "double",
  boolean: "boolean",
  timestamp: "timestamp",
  binary: "blob",
  any: "varchar",
};
const row = fc.tuple(...TYPES.map((type) => fc.option(CELLS[type], { freq: 4, nil: `null::${NULLS[type]}` })));

/** Values that compare as their content does; of JSON the value counts, and not how it is written. */
const shown = (rows: DuckDBValue[][]) =>
  rows.map((cells) =>
    cells.map((value, c) => {
      if (TYPES[c] === "any" && value !== null) return JSON.parse(String(value));
      if (typeof value === "number") return Object.is(value, -0) ? 0 : value;
      return value === null ? null : typeof value === "object" ? value.toString() : value;
    }),
  );

const CODE: Record<Language, { entryPoint: string; same: string; touched: string; kept: string }> = {
  javascript: {
    entryPoint: "processTuple",
    same: "function processTuple(t) { return t; }",
    touched:
      "let n = 0; function processTuple(t) { return n++ % 3 === 1 ? [] : [{ integer_column: 7 }, { string_column: null }]; }",
    kept: "function processTuple(t) { return {}; }",
  },
  python: {
    entryPoint: "process_tuple",
    same: "def process_tuple(t):\n    return t\n",
    touched:
      "n = -1\ndef process_tuple(t):\n    global n\n    n += 1\n    return [] if n % 3 == 1 else [{'integer_column': 7}, {'string_column': None}]\n",
    kept: "def process_tuple(t):\n    return {}\n",
  },
};

for (const language of ["javascript", "python"] as const)
  describe(`columns to ${language} and back${language === "python" && !PYTHON ? " (pending: this machine has no python3)" : ""}`, () => {
    before(function () {
      if (language === "python" && !PYTHON) this.skip();
    });
    const code = CODE[language];

    it("any values come back as they were: given back, kept, or kept beside others", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 60 }), async (rows) => {
          const sql = rows.map((cells) => `select ${cells.join(", ")}`).join(" union all ");
          const inputs = [{ schema: SCHEMA, sql }];
          const common = { language, entryPoint: code.entryPoint, inputs, outputs: [SCHEMA] };
          const instance = await DuckDBInstance.create(":memory:");
          const connection = await instance.connect();
          const given = shown((await connection.runAndReadAll(sql)).getRows());
          connection.closeSync();
          instance.closeSync();
          for (const [source, retain] of [
            [code.same, false],
            [code.kept, true],
          ] as const) {
            const { rows: back, failure } = await tried({ ...common, code: source, retain });
            expect(failure?.message).to.equal(undefined);
            expect(shown(back[0]!)).to.deep.equal(given);
          }
          const { rows: touched, failure } = await tried({ ...common, code: code.touched, retain: true });
          expect(failure?.message).to.equal(undefined);
          const expected = given.flatMap((cells, n) => (n % 3 === 1 ? [] : [cells.with(1, 7), cells.with(0, null)]));
          expect(shown(touched[0]!)).to.deep.equal(expected);
        }),
        { numRuns: 6, endOnFailure: true },
      );
    }).timeout(60_000);

    it("rows of many batches keep their order and their texts", async () => {
      const sql =
        "select i as n, case when i % 7 = 0 then null when i % 5 = 0 then repeat('é', (i % 50)::int) else 'row ' || i end as t from range(40000) r(i)";
      for (const source of [code.same, code.kept]) {
        const { rows, failure } = await tried({
          language,
          code: source,
          entryPoint: code.entryPoint,
          retain: true,
          inputs: [{ schema: "n:long t:string", sql }],
          outputs: ["n:long t:string"],
        });
        expect(failure?.message).to.equal(undefined);
        expect(rows[0]).to.have.length(40_000);
        for (const [n, t] of rows[0] as [bigint, string | null][]) {
          const i = Number(n);
          const wanted = i % 7 === 0 ? null : i % 5 === 0 ? "é".repeat(i % 50) : `row ${i}`;
          if (t !== wanted) expect.fail(`row ${i} has ${t}, not ${wanted}`);
        }
        expect(rows[0]!.every(([n], i) => n === BigInt(i))).to.equal(true);
      }
    }).timeout(60_000);
  });

describe("texts in DuckDB's vectors", () => {
  const texts = fc.array(fc.option(text), { minLength: 1, maxLength: 300 });

  it("are read as DuckDB's own accessor reads them", () => {
    fc.assert(
      fc.property(texts, (values) => {
        const chunk = DuckDBDataChunk.create([VARCHAR], values.length);
        chunk.setColumnValues(0, values);
        const nulls = Uint8Array.from(values, (value) => (value === null ? 1 : 0));
        const { parts, part, at, length } = readTexts(
          chunk,
          0,
          { rows: values.length, from: 0, to: values.length },
          nulls,
        );
        const read = values.map((value, n) =>
          value === null ? null : Buffer.from(parts[part[n]!]!.subarray(at[n]!, at[n]! + length[n]!)).toString("utf8"),
        );
        expect(read).to.deep.equal(new DuckDBDataChunk(chunk.chunk).getColumnValues(0));
      }),
    );
  });

  it("are written so that DuckDB's own accessor reads them", () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 300 }), (values) => {
        const parts = values.map((value) => Buffer.from(value));
        let next = 0;
        const at = Uint32Array.from(parts, ({ length }) => {
          next += length;
          return next - length;
        });
        const length = Uint32Array.from(parts, (part) => part.length);
        const chunk = DuckDBDataChunk.create([VARCHAR], values.length);
        writeTexts(chunk, 0, { bytes: Buffer.concat(parts), at, length }, 0, values.length);
        expect(new DuckDBDataChunk(chunk.chunk).getColumnValues(0)).to.deep.equal(values);
      }),
    );
  });

  it("of a batch are kept where a reply says so, in any order of rows", () => {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(), { minLength: 1, maxLength: 100 }), (values, picks) => {
        const schema = columns("t:string");
        const chunk = DuckDBDataChunk.create([VARCHAR], values.length);
        chunk.setColumnValues(0, values);
        const encoder = new BatchEncoder(schema);
        encoder.add(chunk, 0, values.length);
        const { batch } = encoder.take(0);
        const list = Uint32Array.from(picks, (n) => n % values.length);
        const kept = {
          port: 0,
          rows: list.length,
          bytes: 0,
          origins: { list },
          columns: [{ encoding: 10, input: 0 } as const],
        };
        const out = [...outputChunks(kept, schema, batch)].flatMap((part) => part.getColumnValues(0));
        expect(out).to.deep.equal(Array.from(list, (n) => values[n]));
      }),
    );
  });
});
