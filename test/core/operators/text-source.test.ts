import { expect } from "chai";
import fc from "fast-check";
import { readCsv } from "../../../src/core/operators/text-rows.js";
import type { Json, Properties } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

describe("a text source", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  async function read(properties: Properties) {
    const [output] = await runs.queried("text-source", properties, []);
    return [output!.schema.map(({ name, type }) => `${name}: ${type}`).join(", "), ...output!.rows];
  }
  const findings = (properties: Properties) => runs.findings("text-source", properties, []);

  it("finds names and types of CSV from all its rows", async () => {
    const text =
      'n,x,b,t,s,e,zip\n1,1.5,true,2024-01-31,"a, ""b""",,007\r\n-9007199254740993,2,FALSE,2024-01-31T08:00:00+02:00,"two\nlines",,1\n';
    expect(await read({ text })).to.deep.equal([
      "n: long, x: double, b: boolean, t: timestamp, s: string, e: string, zip: string",
      [1, 1.5, true, "2024-01-31T00:00:00Z", 'a, "b"', null, "007"],
      ["-9007199254740993", 2, false, "2024-01-31T06:00:00Z", "two\nlines", null, "1"],
    ]);
  });

  it("takes columns, delimiter and header as told", async () => {
    const columns: Json[] = [{ name: "a" }, { name: "b", type: "double" }];
    expect(await read({ text: "1;2\n3;4", columns, delimiter: ";", header: false })).to.deep.equal([
      "a: string, b: double",
      ["1", 2],
      ["3", 4],
    ]);
    expect((await read({ text: "x|y\n1|2", delimiter: "|", columns }))[1]).to.deep.equal(["1", 2]);
    expect((await read({ text: "1,2", header: false }))[0]).to.equal("column0: long, column1: long");
  });

  it("reads JSON lines: members of any object, what is nested or mixed as JSON", async () => {
    const text =
      '{"i":1,"s":"x","o":{"k":[1]},"m":1}\n\n{"i":null,"m":"x","t":"2024-01-31T08:00:00Z"}\n{"i":12345678901234567}\n';
    expect(await read({ format: "json", text })).to.deep.equal([
      "i: long, s: string, o: any, m: any, t: timestamp",
      [1, "x", { k: [1] }, 1, null],
      [null, null, null, "x", "2024-01-31T08:00:00Z"],
      ["12345678901234567", null, null, null, null],
    ]);
    const columns = [
      { name: "i", type: "long" },
      { name: "none", type: "boolean" },
    ];
    expect(await read({ format: "json", columns, text: '{"i":9223372036854775807}' })).to.deep.equal([
      "i: long, none: boolean",
      ["9223372036854775807", null],
    ]);
  });

  it("reads plain lines as they are", async () => {
    expect(await read({ format: "lines", text: 'one, "two"\r\n\n three\n' })).to.deep.equal([
      "line: string",
      ['one, "two"'],
      [""],
      [" three"],
    ]);
    const named = { format: "lines", text: "4\n5", columns: [{ name: "n", type: "integer" }] };
    expect(await read(named)).to.deep.equal(["n: integer", [4], [5]]);
    expect(await read({ format: "lines", text: "" })).to.deep.equal(["line: string"]);
  });

  it("may have columns and no row", async () => {
    expect(await read({ text: "a,b\n" })).to.deep.equal(["a: string, b: string"]);
    expect(await read({ text: "", columns: [{ name: "a" }], header: false })).to.deep.equal(["a: string"]);
    expect(await read({ format: "json", text: "", columns: [{ name: "a" }] })).to.deep.equal(["a: string"]);
  });

  it("keeps every type, and texts that look like SQL", async () => {
    const columns = ["string", "integer", "long", "double", "boolean", "timestamp", "binary", "any"].map((type) => ({
      name: `the ${type}`,
      type,
    }));
    const text = `'); DROP TABLE x; --,1,2,3.5,true,2024-02-29T23:59:59.5Z,ff00,"[1,{""a"":null}]"`;
    const [, row] = await read({ text, columns, header: false });
    expect(row).to.deep.equal([
      "'); DROP TABLE x; --",
      1,
      2,
      3.5,
      true,
      "2024-02-29T23:59:59.5Z",
      "FF00",
      [1, { a: null }],
    ]);
  });

  it("reads instants in every form it takes for one, in UTC", async () => {
    const forms = {
      "2024-01-31": "2024-01-31T00:00:00Z",
      "2024-01-31 08:30": "2024-01-31T08:30:00Z",
      "2024-01-31T08:30Z": "2024-01-31T08:30:00Z",
      "2024-01-31t08:30:01.25z": "2024-01-31T08:30:01.25Z",
      "2024-01-31T08:30+05": "2024-01-31T03:30:00Z",
      "2024-01-31T08:30-0530": "2024-01-31T14:00:00Z",
      "2024-01-01T00:30:00+01:00": "2023-12-31T23:30:00Z",
    };
    const [schema, ...rows] = await read({ text: `at\n${Object.keys(forms).join("\n")}` });
    expect(schema).to.equal("at: timestamp");
    expect(rows.flat()).to.deep.equal(Object.values(forms));
    expect((await read({ format: "json", text: '{"at":"2024-01-31T08:30Z"}' }))[1]).to.deep.equal([
      "2024-01-31T08:30:00Z",
    ]);
    for (const none of ["2024-01-31T24:00", "2024-01-31T08:30+16:00", "9999-12-31T23:30-01:00", "2024-1-31"])
      expect((await read({ text: `at\n${none}` }))[0], none).to.equal("at: string");
  });

  it("takes a delimiter beyond 16 bits, and passes over a byte order mark", async () => {
    expect(await read({ text: "\uFEFFa😀b\n1😀2\n", delimiter: "😀" })).to.deep.equal(["a: long, b: long", [1, 2]]);
    expect(await read({ text: '\uFEFF{"a":1}', format: "json" })).to.deep.equal(["a: long", [1]]);
  });

  it("says in which line something is wrong", async () => {
    const wrong: [Properties, RegExp][] = [
      [{ text: "a,b\n1,2\n3\n" }, /^text: Line 3 has 1 fields where 2 are expected/],
      [{ text: 'a\n"x\n' }, /^text: Line 2: a quote is not closed/],
      [{ text: 'a,b\n"x"y,1\n' }, /^text: Line 2: after a closing quote/],
      [{ text: "a,A\n1,2" }, /^text: The column name "A" is used twice/],
      [{ text: "" }, /^text: The text is empty/],
      [{ text: "a\nx", columns: [{ name: "a", type: "long" }] }, /^text: Line 2: "x" in "a" is not a whole number/],
      [{ text: "a\n3000000000", columns: [{ name: "a", type: "integer" }] }, /32 bits/],
      [{ text: "a\n2023-02-29", columns: [{ name: "a", type: "timestamp" }] }, /a date such as/],
      [{ text: "a\n{", columns: [{ name: "a", type: "any" }] }, /is not JSON/],
      [{ text: '{"a":1}\n{"a"', format: "json" }, /^text: Line 2 is no JSON/],
      [{ text: "[1]", format: "json" }, /^text: Line 1 is JSON but no object/],
      [{ text: '{"a":1,"A":2}', format: "json" }, /used twice/],
      [{ text: '{"":1}', format: "json" }, /^text: "" cannot name a column: it is empty or too long; rename it/],
      [{ text: ",".repeat(1_000) }, /^text: The text has 1001 columns where 1000 are the most/],
      [{ text: '{"a":"x"}', format: "json", columns: [{ name: "a", type: "long" }] }, /Line 1: "x" in "a"/],
      [{ text: "a", format: "lines", columns: [{ name: "a" }, { name: "b" }] }, /^columns: Lines make one column/],
      [{ text: "a", delimiter: "ab" }, /^delimiter: A delimiter is one character/],
      [{ text: "x".repeat(250_001) }, /store it as a dataset/],
      [{ text: "a", columns: [{ name: "a" }, { name: "A" }] }, /^columns.1.name: .*used twice/],
    ];
    for (const [properties, finding] of wrong) {
      const found = await findings(properties);
      expect(found, JSON.stringify(properties).slice(0, 80)).to.have.length(1);
      expect(found[0]).to.match(finding);
    }
  });

  it("gives back the fields anybody quotes after RFC 4180", () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 4 }).chain((width) =>
          fc.array(
            fc.array(fc.string({ unit: fc.constantFrom("a", ",", '"', "\n", "\r", "ö", " ") }), {
              minLength: width,
              maxLength: width,
            }),
          ),
        ),
        fc.constantFrom("\n", "\r\n"),
        (rows, lineEnd) => {
          const quoted = rows
            .map((row) => row.map((field) => `"${field.replaceAll('"', '""')}"`).join(","))
            .join(lineEnd);
          const read = readCsv(quoted, ",");
          const expected = rows.map((row) => row.map((field) => (field === "" ? null : field)));
          expect("problem" in read ? read : read.map(({ fields }) => fields)).to.deep.equal(expected);
        },
      ),
    ));
});
