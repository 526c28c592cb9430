import { readFileSync } from "node:fs";
import canonicalize from "canonicalize";
import { expect } from "chai";
import fc from "fast-check";
import { canonicalJson, digestOf, sha256Hex } from "../../src/core/canonical-json.js";

const vectors: { values: { json: string; canonical: string; sha256: string }[] } = JSON.parse(
  readFileSync(new URL("../vectors/canonical-json.json", import.meta.url), "utf8"),
);
/** Another implementation of RFC 8785; the package is the function itself, whatever its declaration says. */
const reference = canonicalize as unknown as (value: unknown) => string;

describe("canonical JSON", () => {
  it("is that of every vector", () => {
    for (const { json, canonical, sha256 } of vectors.values) {
      expect(canonicalJson(JSON.parse(json)), json).to.equal(canonical);
      expect(sha256Hex(canonical)).to.equal(sha256);
      expect(canonicalJson(JSON.parse(canonical)), "again").to.equal(canonical);
    }
  });

  it("is what another implementation gives, for any JSON value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        expect(canonicalJson(value)).to.equal(reference(value));
        expect(JSON.parse(canonicalJson(value))).to.deep.equal(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 1_000 },
    );
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(canonicalJson(value)).to.equal(reference(value));
      }),
      { numRuns: 1_000 },
    );
  });

  it("does not depend on the order in which members were added", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ stringUnit: "binary" })), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).to.equal(canonicalJson(value));
      }),
    );
  });

  it("leaves undefined members out, and refuses what JSON cannot say", () => {
    expect(canonicalJson({ a: undefined, b: 1 })).to.equal('{"b":1}');
    expect(() => canonicalJson({ a: Number.NaN })).to.throw(TypeError, "NaN has no canonical form");
    for (const value of [undefined, Number.POSITIVE_INFINITY, 1n, () => 1, Symbol("x"), [undefined]])
      expect(() => canonicalJson(value)).to.throw(TypeError);
    for (const value of [new Date(0), new Map(), Buffer.from("x")])
      expect(() => canonicalJson(value)).to.throw(TypeError, "plain objects");
  });

  it("refuses half a surrogate pair, which has no UTF-8, in texts and names", () => {
    for (const half of ["\ud83d", "\ude00", "a\ude00\ud83db"]) {
      expect(() => canonicalJson([half])).to.throw(TypeError, "surrogate");
      expect(() => canonicalJson({ [half]: 1 })).to.throw(TypeError, "surrogate");
    }
    expect(canonicalJson("\ud83d\ude00 \\ud83d")).to.equal('"\u{1f600} \\\\ud83d"');
  });

  it("hashes the UTF-8 bytes", () => {
    expect(digestOf({})).to.equal("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    expect(sha256Hex("\u{1f600}")).to.equal(sha256Hex(Buffer.from("\u{1f600}", "utf8")));
  });
});
