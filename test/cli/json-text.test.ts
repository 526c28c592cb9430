import { expect } from "chai";
import fc from "fast-check";
import { parseJson } from "../../src/cli/json-text.js";

const json = fc.json().filter((text) => !text.includes("__proto__"));

describe("JSON text", () => {
  const refusals: [title: string, text: string, said: string][] = [
    ["a missing comma", '{\n  "a": 1\n  "b": 2\n}', 'f is not JSON: "," or "}" expected at line 3, column 3.'],
    ["single quotes", "{'a': 1}", "a name in double quotes expected at line 1, column 2."],
    ["a comma before the end", '{"a": [1, 2,]}', "a value expected at line 1, column 13."],
    ["a missing colon", '{"a" 1}', '":" expected at line 1, column 6.'],
    ["a comment", "// hello\n{}", "a value expected at line 1, column 1."],
    ["text after the end", "{}\n{}", "the end expected at line 2, column 1."],
    ["an open string", '["abc', "a string that is closed and well escaped expected at line 1, column 2."],
    ["an empty text", "", "a value expected at line 1, column 1."],
    ["a number with a leading zero", "[01]", "expected at line 1, column 2."],
  ];
  for (const [title, text, said] of refusals)
    it(`says where ${title} is`, () => {
      expect(() => parseJson(text, "f")).to.throw(said);
    });

  it("refuses a field that whatever copies objects would lose", () => {
    expect(() => parseJson('{"a": [{"__proto__": 1}]}', "f")).to.throw('f has a field called "__proto__"');
    expect(parseJson('{"a": "__proto__"}', "f")).to.deep.equal({ a: "__proto__" });
    const deep = `${"[".repeat(7_000)}"__proto__"${"]".repeat(7_000)}`;
    expect(parseJson(deep, "f")).to.be.an("array");
  });

  it("takes everything else that is JSON, with a byte order mark too", () => {
    fc.assert(
      fc.property(json, (text) => {
        expect(parseJson(`\ufeff${text}`, "f")).to.deep.equal(JSON.parse(text));
      }),
    );
  });

  it("names a place inside the text for whatever else", () => {
    fc.assert(
      fc.property(json, fc.nat(), (text, at) => {
        const broken = text.slice(0, at % text.length);
        fc.pre(!isJson(broken));
        expect(() => parseJson(broken, "f")).to.throw(/^f is not JSON: .+ expected at line \d+, column \d+\.$/);
      }),
    );
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
