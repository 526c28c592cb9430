import { expect } from "chai";
import { parseDatasetReference } from "../../src/core/dataset-reference.js";
import { delimiterOf, formatOfFile, NO_WISH, storedEnding } from "../../src/core/file-format.js";

describe("the format of a file", () => {
  it("is told by its name, compressed or not", () => {
    const kinds = ["a.csv", "a.TSV", "a.json", "a.b.jsonl", "a.ndjson", "a.parquet", "a.csv.gz"].map(
      (name) => formatOfFile(name, NO_WISH).kind,
    );
    expect(kinds).to.deep.equal(["csv", "csv", "json", "json", "json", "parquet", "csv"]);
    expect(formatOfFile("a.tsv", NO_WISH).delimiter).to.equal("\t");
  });

  it("is what was asked for when that is said", () => {
    const wish = { kind: "csv", delimiter: "|", header: false, encoding: "" } as const;
    expect(formatOfFile("data.txt", wish)).to.deep.equal(wish);
  });

  it("is refused when nothing tells it or the wish makes no sense", () => {
    expect(() => formatOfFile("data.txt", NO_WISH)).to.throw(/does not tell its format/);
    expect(() => formatOfFile("data", NO_WISH)).to.throw(/does not tell its format/);
    expect(() => formatOfFile("a.json", { ...NO_WISH, delimiter: "," })).to.throw(/only for CSV/);
    for (const delimiter of ['"', "\n", "ab", "\0"])
      expect(() => formatOfFile("a.csv", { ...NO_WISH, delimiter })).to.throw(/no delimiter/);
  });

  it("has an encoding when it is CSV, and one spelling of UTF-8", () => {
    expect(formatOfFile("a.csv", { ...NO_WISH, encoding: "utf-8" })).to.deep.equal(formatOfFile("a.csv", NO_WISH));
    expect(formatOfFile("a.csv", { ...NO_WISH, encoding: "latin-1" }).encoding).to.equal("latin-1");
    expect(() => formatOfFile("a.jsonl", { ...NO_WISH, encoding: "latin-1" })).to.throw(/only for CSV/);
    expect(() => formatOfFile("a.csv.gz", { ...NO_WISH, encoding: "utf-16" })).to.throw(/unpack/);
  });

  it("gives a stored copy an ending by which it is read alike", () => {
    const endings = ["x.csv", "x.JSONL.gz", "../../x.parquet", "x.csv.gz"].map((name) =>
      storedEnding(name, formatOfFile(name, NO_WISH)),
    );
    expect(endings).to.deep.equal(["csv", "jsonl.gz", "parquet", "csv.gz"]);
    expect(storedEnding("x.txt", { kind: "csv", delimiter: ",", header: true, encoding: "" })).to.equal("csv");
  });
});

describe("the delimiter of a CSV text", () => {
  it("is the candidate met most often in the first line, outside quotes", () => {
    const texts = ["a,b;c,d\n", "a;b;c\n1,2,3,4,5", '"a,b,c";d\n', "a\tb", "a|b|c,d", "only", ""];
    expect(texts.map(delimiterOf)).to.deep.equal([",", ";", ";", "\t", "|", ",", ","]);
  });
});

describe("a dataset reference", () => {
  it("names a dataset, perhaps a version, perhaps another project", () => {
    expect(parseDatasetReference("a", "p")).to.deep.equal({ projectId: "p", name: "a", version: 0 });
    expect(parseDatasetReference("a.b-c@12", "p")).to.deep.equal({ projectId: "p", name: "a.b-c", version: 12 });
    expect(parseDatasetReference("q/a@1", "p")).to.deep.equal({ projectId: "q", name: "a", version: 1 });
  });

  it("is nothing else", () => {
    for (const text of ["", "@1", "a@0", "a@01", "a@1x", "a@9999999999", "/a", "q/", "a/b/c", "a b", "ä", "a\n"])
      expect(parseDatasetReference(text, "p"), text).to.equal(undefined);
  });
});
