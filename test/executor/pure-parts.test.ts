import { expect } from "chai";
import fc from "fast-check";
import { globalPortId } from "../../src/core/plan.js";
import { inferRowCounts } from "../../src/core/row-counts.js";
import { type ComputeCost, costOf, totalMs } from "../../src/executor/run/compute-cost.js";
import { consoleBudget } from "../../src/executor/run/console-budget.js";
import { planSteps } from "../../src/executor/run/fused-query.js";
import { cutToBytes } from "../../src/executor/run/report.js";
import { portFileName } from "../../src/executor/run/result-writer.js";
import { latestWins } from "../../src/executor/run/statistics-throttle.js";
import { formatMicros, parseMicros } from "../../src/executor/user-code/iso-time.js";
import {
  columns,
  type OperatorDraft,
  outputKey,
  planOf,
  query,
  scan,
  userFunction,
} from "../support/physical-plans.js";

const N = columns("n:long");
const CSV = { uri: "file:///d.csv" };
const PARQUET = { uri: "file:///d.parquet", format: { kind: "parquet", delimiter: "", header: undefined } as const };
const same = (id: string, type = "filter") => query(id, type, [N], "select * from input0", N);
const kept = (draft: OperatorDraft): OperatorDraft => ({ ...draft, materialized: true });
const js = (id: string) => userFunction(id, "javascript", N, "", N);

function stepsOf(drafts: OperatorDraft[], links: string[], there: string[] = []) {
  const plan = planOf(drafts, links);
  return planSteps({
    plan,
    region: plan.regions[0]!,
    pathOf: ({ operatorId }) => `/results/${operatorId}.parquet`,
    isThere: ({ operatorId }) => there.includes(operatorId),
    isToWrite: ({ operatorId }) =>
      drafts.some(({ id, materialized }) => id === operatorId && materialized === true) && !there.includes(operatorId),
    datasetPath: (uri) => uri.slice("file://".length),
  });
}
const outline = (...args: Parameters<typeof stepsOf>) =>
  stepsOf(...args).map((s) => `${s.kind} ${s.members.map((m) => m.split("/")[0]).join("+")}`);

describe("fusing a region", () => {
  it("makes one query of a chain", () => {
    expect(outline([scan("s", N, CSV), same("a"), kept(same("b"))], ["s>a", "a>b"])).to.deep.equal(["write s+a+b"]);
  });

  it("writes a materialised port first and reads it back", () => {
    const steps = stepsOf([scan("s", N, CSV), kept(same("a")), kept(same("b"))], ["s>a", "a>b"]);
    expect(steps.map((s) => s.members)).to.deep.equal([["s/main", "a/main"], ["b/main"]]);
    const [, second] = steps;
    expect(second?.kind === "write" && second.query.sql).to.include("read_parquet('/results/a.parquet')");
  });

  it("cuts before and after user code", () => {
    const steps = outline([scan("s", N, CSV), js("f"), same("a"), kept(same("b"))], ["s>f", "f>a", "a>b"]);
    expect(steps).to.deep.equal(["call s+f", "write a+b"]);
  });

  it("writes what user code gives, when that is to be kept", () => {
    expect(outline([scan("s", N, CSV), kept(js("f")), kept(js("g"))], ["s>f", "f>g"])).to.deep.equal([
      "call s+f",
      "write f",
      "call g",
      "write g",
    ]);
  });

  it("runs functions directly behind one another in one step, unless a query or another function reads between them", () => {
    const drafts = [scan("s", N, CSV), js("f"), js("g"), kept(js("h"))];
    expect(outline(drafts, ["s>f", "f>g", "g>h"])).to.deep.equal(["call s+f+g+h", "write h"]);
    expect(outline([...drafts, kept(same("q"))], ["s>f", "f>g", "g>h", "f>q"])).to.deep.equal([
      "call s+f",
      "call g+h",
      "write h",
      "write q",
    ]);
    const both = { ...js("both"), inputs: [N, N] };
    expect(outline([scan("s", N, CSV), js("f"), kept(both)], ["s>f", "f>both:0", "s>both:1"])).to.deep.equal([
      "keep s",
      "call f",
      "call both",
      "write both",
    ]);
  });

  it("runs several functions that read the ports of one side by side with it", () => {
    const forks = { ...js("forks"), furtherOutputs: [N] };
    const drafts = [scan("s", N, CSV), forks, kept(js("a")), kept(js("b"))];
    const steps = outline(drafts, ["s>forks", "forks>a", "forks:1>b"]);
    expect(steps).to.deep.equal(["call s+forks+a+b", "write a", "write b"]);
  });

  it("computes once what is read from several places, but reads Parquet again", () => {
    const diamond = (dataset: typeof CSV) => [scan("s", N, dataset), same("a"), kept(same("b")), kept(same("c"))];
    const links = ["s>a", "a>b", "a>c"];
    expect(outline(diamond(CSV), links)).to.deep.equal(["keep s+a", "write b", "write c"]);
    const direct = ["s>a", "s>b", "a>c"];
    expect(outline(diamond(CSV), direct)).to.deep.equal(["keep s", "write b", "write a+c"]);
    expect(outline(diamond(PARQUET), direct)).to.deep.equal(["write s+b", "write s+a+c"]);
  });

  it("computes nothing that nobody needs, and nothing that is there", () => {
    expect(outline([scan("s", N, CSV), kept(same("a")), same("unused")], ["s>a", "s>unused"])).to.deep.equal([
      "write s+a",
    ]);
    const drafts = [scan("s", N, CSV), kept(same("a")), kept(same("b"))];
    expect(outline(drafts, ["s>a", "a>b"], ["a"])).to.deep.equal(["write b"]);
    expect(outline(drafts, ["s>a", "a>b"], ["a", "b"])).to.deep.equal([]);
  });

  it("drops a table after its last reader, once", () => {
    const steps = stepsOf([scan("s", N, CSV), js("f"), kept(same("a")), kept(same("b"))], ["s>f", "f>a", "f>b"]);
    expect(steps.map((s) => s.drops.length)).to.deep.equal([0, 0, 1]);
  });

  it("keeps operators apart whose ids differ in case only", () => {
    const [step] = stepsOf(
      [
        scan("a", N, CSV),
        scan("A", N, { uri: "file:///other.csv" }),
        kept(query("j", "join", [N, N], "select * from input0 join input1 using (n)", N)),
      ],
      ["a>j:0", "A>j:1"],
    );
    expect(step?.kind === "write" && step.query.sql).to.match(/"operator 0"[\s\S]*"operator 1"/);
  });

  it("refuses an input that nothing is linked to", () => {
    expect(() => stepsOf([kept(same("a"))], [])).to.throw("Input 0 of operator a is not connected.");
  });
});

describe("what it took to make a port", () => {
  it("counts each step once, however many diamonds of stored ports lie on one another", () => {
    const written = new Map<string, ComputeCost>();
    const total = (cost: ComputeCost) => totalMs(cost, written, (id) => (id === "stored" ? 7n : 0n));
    let last = "stored";
    let steps = 0;
    let took = 0n;
    const write = (id: string, reads: string[]) => {
      const [step] = stepsOf([scan("s", N, CSV), kept(same("a"))], ["s>a"]);
      const cost = costOf({ ...step!, reads: { ports: new Set(reads), tables: new Set() } }, 2, new Map());
      steps++;
      took = total(cost);
      written.set(id, cost);
    };
    for (let i = 0; i < 100; i++) {
      write(`left ${i}`, [last]);
      write(`right ${i}`, [last]);
      last = `both ${i}`;
      write(last, [`left ${i}`, `right ${i}`]);
    }
    expect(took).to.equal(BigInt(2 * steps + 7));
  });

  it("stays in the range of a message, whatever the stored ports say", () => {
    const cost = { steps: new Map(), ports: new Set(["a", "b"]) };
    expect(totalMs(cost, new Map(), () => 2n ** 62n)).to.equal(BigInt(Number.MAX_SAFE_INTEGER));
  });
});

describe("names of files", () => {
  it("differ for the ports of one operator, those between its layers too", () => {
    const key = { operatorId: "a", layer: "main", portId: 0, internal: false, input: false };
    const keys = [key, { ...key, internal: true }, { ...key, portId: 1 }, { ...key, layer: "other" }];
    expect(new Set(keys.map(portFileName)).size).to.equal(keys.length);
    expect(portFileName(key)).to.equal("a.main.0.parquet");
  });
});

describe("numbers of rows", () => {
  const plan = planOf(
    [
      scan("s", N, { ...CSV, rowCount: 10n }),
      same("derive", "derive"),
      same("filter"),
      same("sort", "sort"),
      { ...same("union", "union"), inputs: [N, N] },
    ],
    ["s>derive", "derive>filter", "filter>sort", "sort>union:0", "derive>union:1"],
  );
  it("follow through operators that keep every row, both ways, and stay unknown elsewhere", () => {
    const before = inferRowCounts(plan, new Map());
    expect(before.get("derive/main")).to.deep.equal({ inputRows: 10n, outputRows: 10n });
    expect(before.get("filter/main")).to.deep.equal({ inputRows: 10n, outputRows: undefined });
    expect(before.get("union/main")?.outputRows).to.equal(undefined);
    const after = inferRowCounts(plan, new Map([[globalPortId(outputKey("sort")), 4n]]));
    expect(after.get("filter/main")?.outputRows, "backwards").to.equal(4n);
    expect(after.get("union/main")).to.deep.equal({ inputRows: 14n, outputRows: 14n });
  });
});

describe("statistics on their way", () => {
  it("go at most once per interval and operator, the latest one, and count what they replace", () => {
    const throttle = latestWins<number>(500);
    const sent: number[] = [];
    const take = (n: number) => sent.push(n) > 0;
    for (let ms = 0; ms < 2_000; ms += 100) {
      throttle.put("a", ms);
      throttle.drain(ms, take);
    }
    throttle.drainAll(take);
    expect(sent).to.deep.equal([0, 500, 1_000, 1_500, 1_900]);
    expect(throttle.replaced() + sent.length).to.equal(20);
  });

  it("wait when there is no room", () => {
    const throttle = latestWins<number>(500);
    throttle.put("a", 1);
    throttle.drain(0, () => false);
    const sent: number[] = [];
    throttle.drainAll((n) => sent.push(n) > 0);
    expect(sent).to.deep.equal([1]);
  });
});

describe("the console's budget", () => {
  it("never admits more than so many bytes a second, and counts every line left out", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ bytes: fc.nat(60), ms: fc.nat(300) })), (lines) => {
        const budget = consoleBudget(100);
        let now = 0;
        let admitted = 0;
        const windows = new Map<number, number>();
        let start = Number.NEGATIVE_INFINITY;
        for (const { bytes, ms } of lines) {
          now += ms;
          if (now - start >= 1_000) start = now;
          if (!budget.admit(bytes, now)) continue;
          admitted++;
          windows.set(start, (windows.get(start) ?? 0) + bytes);
        }
        expect(budget.dropped()).to.equal(lines.length - admitted);
        for (const bytes of windows.values()) expect(bytes).to.be.at.most(100);
      }),
    );
  });

  it("cuts a long line between characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), fc.integer({ min: 8, max: 80 }), (text, bytes) => {
        const cut = cutToBytes(text, bytes);
        expect(Buffer.byteLength(cut)).to.be.at.most(bytes);
        let longest = "";
        for (const character of text) {
          if (Buffer.byteLength(`${longest}${character} …`) > bytes) break;
          longest += character;
        }
        expect(cut).to.equal(Buffer.byteLength(text) <= bytes ? text : `${longest} …`);
      }),
    );
  });

  it("keeps the replacement characters that a long line has itself", () => {
    expect(cutToBytes("\uFFFD".repeat(5), 12)).to.equal("\uFFFD\uFFFD …");
  });
});

describe("timestamps as text", () => {
  it("come back as the same microsecond", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n }), (micros) => {
        expect(parseMicros(formatMicros(micros))).to.equal(micros);
      }),
    );
  });

  const cases: [string, string | undefined][] = [
    ["2026-01-31", "2026-01-31T00:00:00+00:00"],
    ["2026-01-31 12:30", "2026-01-31T12:30:00+00:00"],
    ["2026-01-31T12:30:00+02:00", "2026-01-31T10:30:00+00:00"],
    ["2026-01-31T12:30:00.1234567-0130", "2026-01-31T14:00:00.123456+00:00"],
    ["2026-02-31", undefined],
    ["2026-01-31T24:00", undefined],
    ["yesterday", undefined],
    ["999999-01-01", undefined],
    ["infinity", "infinity"],
  ];
  for (const [text, expected] of cases)
    it(`${expected === undefined ? "refuse" : "read"} ${text}`, () => {
      const micros = parseMicros(text);
      expect(micros === undefined ? undefined : formatMicros(micros)).to.equal(expected);
    });
});
