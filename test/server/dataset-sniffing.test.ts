import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { type FormatWish, formatOfFile, NO_WISH } from "../../src/core/file-format.js";
import { scanSql } from "../../src/core/scan-sql.js";
import { sniffFile } from "../../src/server/datasets/dataset-sniffing.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("sniffing a file", () => {
  let directory: string;
  before(async () => {
    directory = await makeTestDirectory();
  });
  after(() => removeTestDirectory(directory));

  let count = 0;
  const place = async (ending: string, content: string | Buffer) => {
    const path = join(directory, `file-${++count}.${ending}`);
    await writeFile(path, content);
    return path;
  };
  const sniff = async (ending: string, content: string | Buffer, wish: FormatWish = NO_WISH) => {
    const path = await place(ending, content);
    const { schema, ...found } = await sniffFile(path, formatOfFile(path, wish), new AbortController().signal);
    const columns = schema.map(({ name, type }) => `${name}:${type}`).join(" ");
    const malformedRows = found.malformedRowCount > 0n ? "skip" : "fail";
    return {
      ...found,
      path,
      schema,
      columns,
      values: await readAll(path, { format: found.format, schema, malformedRows }),
    };
  };
  const columnsOf = async (ending: string, content: string | Buffer) => (await sniff(ending, content)).columns;
  const withDuckDb = async (sql: string): Promise<unknown[][]> => {
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    try {
      await connection.run("set TimeZone = 'UTC'");
      return (await connection.runAndReadAll(sql)).getRowsJson();
    } finally {
      connection.closeSync();
      instance.closeSync();
    }
  };
  const readAll = (path: string, as: Omit<Parameters<typeof scanSql>[0], "path">) =>
    withDuckDb(scanSql({ path, ...as }));
  const parquet = async (select: string) => {
    const path = await place("parquet", "");
    await withDuckDb(`copy (${select}) to '${path}'`);
    return (await import("node:fs/promises")).readFile(path);
  };

  it("finds types and rows of CSV", async () => {
    const found = await sniff("csv", "n,x,b,t,s,e\n1,1.5,true,2026-01-05,x,\n-2,2,false,2026-01-06,y,\n");
    expect(found.columns).to.equal("n:long x:double b:boolean t:timestamp s:string e:string");
    expect(found.rowCount).to.equal(2n);
    expect(found.values[0]).to.deep.equal(["1", 1.5, true, "2026-01-05 00:00:00", "x", null]);
  });

  it("finds types from every row: one decimal at the end of many integers is not rounded", async () => {
    const found = await sniff("csv", `a\n${"1\n".repeat(50_000)}1.7\n`);
    expect(found.columns).to.equal("a:double");
    expect(found.values.at(-1)).to.deep.equal([1.7]);
    const json = await sniff("jsonl", `${'{"a":1}\n'.repeat(50_000)}{"a":1.7}\n`);
    expect(json.columns).to.equal("a:double");
    expect(json.values.at(-1)).to.deep.equal([1.7]);
  });

  it("takes offsets of instants into account", async () => {
    const found = await sniff("csv", "t\n2026-01-01T00:00:00+02:00\n2026-01-01T00:00:00Z\n");
    expect(found.columns).to.equal("t:timestamp");
    expect(found.values).to.deep.equal([["2025-12-31 22:00:00"], ["2026-01-01 00:00:00"]]);
  });

  it("leaves dates of doubtful notation as text, and loses none", async () => {
    const found = await sniff("csv", "t\n05/01/2026\n25/12/2026\n");
    expect([found.columns, found.values]).to.deep.equal(["t:string", [["05/01/2026"], ["25/12/2026"]]]);
    expect(await columnsOf("json", '[{"t":"Jun 12 1998"}]')).to.equal("t:string");
  });

  it("keeps leading zeros", async () => {
    expect((await sniff("csv", "zip\n00501\n10001\n")).values[0]).to.deep.equal(["00501"]);
  });

  it("finds delimiter and header, and takes them as told", async () => {
    const semicolon = await sniff("csv", "a;b\n1;2,5\n");
    expect([semicolon.format.delimiter, semicolon.columns]).to.deep.equal([";", "a:long b:string"]);
    expect((await sniff("tsv", "a,b\tc\n1\t2\n")).columns).to.equal("a,b:long c:long");
    const none = await sniff("csv", "1,2\n3,4\n");
    expect([none.format.header, none.rowCount]).to.deep.equal([false, 2n]);
    const told = await sniff("csv", "1,2\n3,4\n", { ...NO_WISH, header: true });
    expect([told.format.header, told.columns, told.rowCount]).to.deep.equal([true, "1:long 2:long", 1n]);
    const strange = await sniff("csv", "a^b\n1^2\n", { ...NO_WISH, kind: "csv", delimiter: "^" });
    expect(strange.columns).to.equal("a:long b:long");
  });

  it("reads quotes, line ends, a byte order mark and gzip", async () => {
    const text = '\uFEFFa,b\r\n1,"x, ""y"""\r\n2,"two\r\nlines"\r\n';
    const values = [
      ["1", 'x, "y"'],
      ["2", "two\r\nlines"],
    ];
    const plain = await sniff("csv", text);
    expect([plain.columns, plain.values]).to.deep.equal(["a:long b:string", values]);
    const compressed = await sniff("csv.gz", gzipSync(text));
    expect([compressed.columns, compressed.values]).to.deep.equal(["a:long b:string", values]);
  });

  it("gives every CSV column a name of its own, without regard to case", async () => {
    const found = await sniff("csv", 'a,A,a_1,,É,é,"q""u\'o"\n1,2,3,4,5,6,7\n');
    const names = found.schema.map(({ name }) => name.toLowerCase());
    expect(new Set(names).size).to.equal(7);
    expect(found.values).to.deep.equal([["1", "2", "3", "4", "5", "6", "7"]]);
  });

  it("takes a file with a header only as one without rows", async () => {
    const found = await sniff("csv", "a,b\n");
    expect([found.columns, found.rowCount]).to.deep.equal(["a:string b:string", 0n]);
  });

  it("finds types of JSON, and keeps what is nested or mixed as JSON text", async () => {
    const found = await sniff(
      "json",
      '[{"i":1,"x":1.5,"s":"x","b":true,"t":"2026-01-05T10:00:00Z","o":{"k":[1,2]},"l":[1,"a"],"m":1},{"m":"x"}]',
    );
    expect(found.columns).to.equal("i:long x:double s:string b:boolean t:timestamp o:any l:any m:any");
    expect(found.values).to.deep.equal([
      ["1", 1.5, "x", true, "2026-01-05 10:00:00", '{"k":[1,2]}', '[1,"a"]', "1"],
      [null, null, null, null, null, null, null, '"x"'],
    ]);
  });

  it("takes objects with very different keys as columns, not as one map", async () => {
    const found = await sniff("jsonl", Array.from({ length: 300 }, (_, i) => `{"k${i}":${i}}`).join("\n"));
    expect([found.schema.length, found.rowCount]).to.deep.equal([300, 300n]);
  });

  it("maps the types of Parquet to ours, values intact", async () => {
    const found = await sniff(
      "parquet",
      await parquet(`select 1::tinyint as i, 5::ubigint as u, 1.25::decimal(9, 2) as d, {'x': 1} as o, [1, 2] as l,
        date '2026-01-05' as dt, timestamptz '2026-01-05 00:00:00+02' as tz, '\\x01'::blob as b, uuid '1e4e6b4a-9f0a-4b7d-8d7e-111111111111' as id,
        time '10:00:00' as tm, true as t, 'x' as "A b"`),
    );
    expect(found.columns).to.equal(
      "i:integer u:long d:double o:any l:any dt:timestamp tz:timestamp b:binary id:string tm:string t:boolean A b:string",
    );
    expect(found.values[0]).to.deep.equal([
      ...[1, "5", 1.25, '{"x":1}', "[1,2]", "2026-01-05 00:00:00", "2026-01-04 22:00:00", "\\x01"],
      ...["1e4e6b4a-9f0a-4b7d-8d7e-111111111111", "10:00:00", true, "x"],
    ]);
  });

  it("widens a type that does not hold every value", async () => {
    const found = await sniff("parquet", await parquet("select unnest([1, 18446744073709551615])::ubigint as a"));
    expect(found.columns).to.equal("a:double");
  });

  it("takes no column from the names of directories", async () => {
    const { mkdir } = await import("node:fs/promises");
    await mkdir(join(directory, "year=2026"));
    const path = join(directory, "year=2026", "a.csv");
    await writeFile(path, "a\n1\n");
    const { schema } = await sniffFile(path, formatOfFile(path, NO_WISH), new AbortController().signal);
    expect(schema.map(({ name }) => name)).to.deep.equal(["a"]);
  });

  const broken: [what: string, ending: string, content: string | Buffer, message: RegExp][] = [
    ["an empty file", "csv", "", /it is empty/],
    [
      "lines most of which have too few fields",
      "csv",
      "a,b\n1,2\n3\n4\n",
      /line 3: it has 1 fields where 2 are expected/,
    ],
    ["lines most of which have too many fields", "csv", "a,b\n3,4,5\n", /line 2: it has 3 fields where 2 are expected/],
    ["a quote that is not closed", "csv", 'a,b\n"1,2\n3,4\n', /line 2: a quote is not closed/],
    ["text that is not UTF-8", "csv", Buffer.from("a,b\n1,caf\xe9\n", "latin1"), /line 2: it is not UTF-8/],
    ["bytes that are no CSV", "csv", Buffer.from([0, 1, 2, 255, 254, 0, 10, 13, 5]), /CSV/],
    ["JSON that ends early", "jsonl", '{"a":\n', /no proper JSON: .*unexpected end of data/],
    ["a JSON array that breaks off", "json", '[{"a":1}, {"a":', /no proper JSON/],
    [
      "an encoding it is not in",
      "latin.csv",
      Buffer.from("a\n\x80\n", "latin1"),
      /it is not UTF-8 \(name its encoding/,
    ],
    ["no JSON at all", "json", "hello", /no proper JSON/],
    ["JSON that is no object", "json", "[1, 2]", /JSON that is no object/],
    ["an empty JSON array", "json", "[]", /JSON that is no object|no columns/],
    ["JSON keys that differ in case only", "json", '[{"a":1,"A":2}]', /upper and lower case/],
    ["an empty JSON key", "json", '[{"a":1,"":2}]', /a key is empty/],
    ["bytes that are no Parquet", "parquet", "PAR1 and so on, but not really", /no proper Parquet/],
    ["gzip that is none", "csv.gz", "a,b\n1,2\n", /cannot be read/],
  ];
  for (const [what, ending, content, message] of broken) {
    it(`refuses ${what}, in a sentence that tells no path of the server`, async () => {
      const error = await rejection(sniff(ending, content));
      expect(error).to.include({ code: "invalid", reason: "DATASET_UNREADABLE" });
      expect(error.message).to.match(message);
      expect(error.message).to.not.include(directory);
      expect(error.message).to.not.include("\n");
    });
  }

  const malformed: [
    what: string,
    ending: string,
    content: string | Buffer,
    columns: string,
    good: number,
    bad: bigint,
  ][] = [
    ["lines with too few fields", "csv", "a,b\n1,2\n3\n4,5\n", "a:long b:long", 2, 1n],
    ["lines with too many fields", "csv", "a,b\n1,2\n3,4,5\n", "a:long b:long", 1, 1n],
    ["a broken line far down", "csv", `a,b\n${"1,2\n".repeat(50_000)}3\n`, "a:long b:long", 50_000, 1n],
    ["a quote within a field", "csv", 'a,b\n1,"x"\n2,"w"x\n3,y\n', "a:long b:string", 2, 1n],
    ["bytes that are not UTF-8", "csv", Buffer.from("a,b\n1,x\n2,caf\xe9\n3,y\n", "latin1"), "a:long b:string", 2, 1n],
    ["values that decide the type, not the form", "csv", "a,b\n1,2\nx,3\n4\n5,6.5\n", "a:string b:double", 3, 1n],
    ["JSON whose numbers need a wider type", "jsonl", '{"a":18446744073709551615}\n{"a":1}\nx\n', "a:double", 2, 1n],
    ["lines that are no JSON", "jsonl", '{"a":1}\n{"a":\nnonsense\n{"a":2.5}\n{}\n', "a:double", 3, 2n],
    [
      "JSON that is no object",
      "jsonl",
      '{"a":"x","t":"2026-01-05T10:00:00Z"}\n[1]\n{"a":1}\n',
      "a:any t:timestamp",
      2,
      1n,
    ],
  ];
  for (const [what, ending, content, columns, good, bad] of malformed)
    it(`counts ${what}, and reads the others`, async () => {
      const found = await sniff(ending, content);
      expect([found.columns, found.values.length, found.rowCount, found.malformedRowCount]).to.deep.equal([
        ...[columns, good, BigInt(good), bad],
      ]);
    });

  it("leaves out the same rows whichever columns are read, and however many threads read", async () => {
    const lines = Array.from({ length: 200_000 }, (_, i) =>
      i % 9_973 === 0 ? `${i},"w"x,1` : `${i},"text, ${i}",${i}`,
    );
    const found = await sniff("csv", `a,b,c\n${lines.join("\n")}\n`);
    expect([found.rowCount, found.malformedRowCount]).to.deep.equal([199_979n, 21n]);
    const reading = scanSql({ path: found.path, format: found.format, schema: found.schema, malformedRows: "skip" });
    expect(await withDuckDb(`select count(*) from (${reading})`)).to.deep.equal([["199979"]]);
    expect(await withDuckDb(`select count(c) from (${reading})`)).to.deep.equal([["199979"]]);
    expect(await withDuckDb(`select a from (${reading}) limit 2 offset 9971`)).to.deep.equal([["9972"], ["9974"]]);
  });

  it("fails at the line when malformed rows are not to be skipped", async () => {
    const found = await sniff("csv", "a,b\n1,2\n3\n4,5\n");
    const error = await rejection(readAll(found.path, { format: found.format, schema: found.schema }));
    expect(error.message).to.match(/Line: 3/);
  });

  for (const [encoding, bytes] of [
    ["latin-1", Buffer.from("größe;b\n1;é\n", "latin1")],
    ["utf-16", Buffer.from("größe;b\n1;é\n", "utf16le")],
    ["utf-16", Buffer.from("\uFEFFgröße;b\r\n1;é\r\n", "utf16le")],
    ["utf-8", Buffer.from("\uFEFFgröße;b\n1;é\n")],
  ] as const)
    it(`reads ${bytes.length} bytes of ${encoding}`, async () => {
      const found = await sniff("csv", bytes, { ...NO_WISH, encoding });
      expect([found.columns, found.values, found.format.delimiter]).to.deep.equal([
        "größe:long b:string",
        [["1", "é"]],
        ";",
      ]);
    });

  it("says so when a file is not in the encoding given", async () => {
    const error = await rejection(
      sniff("csv", Buffer.from("a\n\u{1F600}\n", "utf16le"), { ...NO_WISH, encoding: "utf-16" }),
    );
    expect(error).to.include({ reason: "DATASET_UNREADABLE" });
    expect(error.message).to.match(/not in the encoding given.*convert it to UTF-8/);
  });

  it("says which encoding a file has that tells it", async () => {
    const little = Buffer.from("\uFEFFa,b\n1,2\n", "utf16le");
    const message = async (bytes: Buffer, wish: FormatWish) => (await rejection(sniff("csv", bytes, wish))).message;
    expect(await message(little, NO_WISH)).to.match(/it is UTF-16; give it the encoding "utf-16"/);
    const big = Buffer.from(little).swap16();
    for (const wish of [NO_WISH, { ...NO_WISH, encoding: "utf-16" } as const])
      expect(await message(big, wish)).to.match(/big-endian UTF-16, which is not read; convert it to UTF-8/);
  });

  it("keeps keys that only look as if they had been renamed", async () => {
    expect(await columnsOf("json", '[{"a_1":1,"C2":null,"x_2":"y"}]')).to.equal("a_1:long C2:any x_2:string");
  });

  it("refuses a path that DuckDB would take for a pattern", async () => {
    const path = join(directory, "a*.csv");
    await writeFile(path, "a\n1\n");
    const error = await rejection(sniffFile(path, formatOfFile(path, NO_WISH), new AbortController().signal));
    expect(error).to.include({ code: "invalid" });
  });

  it("ends when the call is cancelled", async () => {
    const path = await place("csv", "a\n1\n");
    const cancelled = AbortSignal.abort();
    expect(await rejection(sniffFile(path, formatOfFile(path, NO_WISH), cancelled))).to.include({ code: "cancelled" });
  });
});
