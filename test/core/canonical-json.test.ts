import { expect } from "chai";
import fc from "fast-check";
import { canonicalJson, digestOf } from "../../src/core/canonical-json.js";

describe("canonical JSON", () => {
  it("sorts keys by UTF-16 code units and writes numbers shortest, as RFC 8785 shows", () => {
    const value = {
      numbers: [Number("333333333.33333329"), 1e30, 4.5, 2e-3, 0.000000000000000000000000001, -0],
      string: '€$\u000f\u000aA\'B"\\\\"/',
      literals: [null, true, false],
    };
    expect(canonicalJson(value)).to.equal(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
    const keys = { "\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\u{1f600}": 5, "\u0080": 6, "\u00f6": 7 };
    expect(Object.values(JSON.parse(canonicalJson(Object.entries(keys))))).to.have.length(7);
    expect([...canonicalJson(keys).matchAll(/:(\d)/g)].map((m) => m[1]).join("")).to.equal("2467153");
  });

  it("does not depend on the order in which members were added", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).to.equal(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).to.deep.equal(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("leaves undefined members out, and refuses what JSON cannot say", () => {
    expect(canonicalJson({ a: undefined, b: 1 })).to.equal('{"b":1}');
    expect(() => canonicalJson(Number.NaN)).to.throw();
    expect(() => canonicalJson(undefined)).to.throw(TypeError);
  });

  it("hashes the UTF-8 bytes", () => {
    expect(digestOf({})).to.equal("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  });
});
