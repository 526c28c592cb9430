import { expect } from "chai";
import { type CacheMode, cacheModes } from "../../src/core/cache-use.js";
import { columns, planOf, query } from "../support/physical-plans.js";

const N = columns("n:long");
const step = (id: string) => query(id, "filter", [N, N], "SELECT * FROM input0", N);
/** a → b → d, a → c → d, and e alone. */
const plan = planOf(["a", "b", "c", "d", "e"].map(step), ["a>b", "a>c", "b>d", "c>d:1"]);

const modes = (operators: Record<string, CacheMode>, mode: CacheMode = "USE"): string =>
  [...cacheModes(plan, { mode, operators })].map(([key, own]) => `${key[0]} ${own}`).join(", ");

describe("cache modes", () => {
  it("are the execution's, but for operators that have their own", () => {
    expect(modes({}, "READ_ONLY")).to.equal("a READ_ONLY, b READ_ONLY, c READ_ONLY, d READ_ONLY, e READ_ONLY");
    expect(modes({ c: "SKIP", e: "READ_ONLY" })).to.equal("a USE, b USE, c SKIP, d USE, e READ_ONLY");
  });

  it("make whatever is downstream of a refreshed operator anew, and remember it where that is allowed", () => {
    expect(modes({ b: "REFRESH" })).to.equal("a USE, b REFRESH, c USE, d REFRESH, e USE");
    expect(modes({ a: "REFRESH", b: "SKIP", c: "READ_ONLY" })).to.equal("a REFRESH, b SKIP, c SKIP, d REFRESH, e USE");
  });

  it("are not confused by operators called as something every object has", () => {
    const odd = planOf([step("constructor")], []);
    expect(cacheModes(odd, { mode: "SKIP", operators: {} }).get("constructor/main")).to.equal("SKIP");
  });
});
