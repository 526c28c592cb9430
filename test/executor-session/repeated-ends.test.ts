import { expect } from "chai";
import { AppError } from "../../src/core/app-error.js";
import { repeatedEnds } from "../../src/executor-session/repeated-ends.js";

const exhausted = new AppError("exhausted", "QUOTA_EXCEEDED", "Too large.");
const fault = new AppError("internal", "INTERNAL", "internal error");
const gone = new AppError("unavailable", "UNAVAILABLE", "The server cannot be reached.");
const full = new AppError("exhausted", "STORAGE_FULL", "The database has no room left.");
const superseded = new AppError("unavailable", "STREAM_SUPERSEDED", "A newer stream is open.");

describe("ends of streams that repeat", () => {
  const LEASE_MS = 1_000;
  /** What is said after each end, half a lease apart. */
  function saidAfter(ends: [cause: unknown, owed: string, upForMs?: number][]): unknown[] {
    let now = 0;
    const look = repeatedEnds({ executorId: "executor-1", leaseMs: LEASE_MS, elapsed: () => now });
    return ends.map(([cause, owed, upForMs = 10]) => {
      now += LEASE_MS / 2;
      return look({ cause, owed, upForMs })?.reason;
    });
  }
  const times = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);

  it("are final at the third answer of the same kind to the same, a lease after the first", () => {
    expect(saidAfter(times(3, [exhausted, "Complete"]))).to.deep.equal([undefined, undefined, "QUOTA_EXCEEDED"]);
    const look = repeatedEnds({ executorId: "executor-1", leaseMs: LEASE_MS, elapsed: () => 0 });
    for (let n = 0; n < 50; n++) expect(look({ cause: fault, owed: "Complete", upForMs: 1 })).to.equal(undefined);
  });

  it("begin anew when something was stored meanwhile, or the answer is another", () => {
    const [one, two] = ["events from 1", "events from 9"];
    expect(
      saidAfter([
        [fault, one],
        [fault, one],
        [fault, two],
        [fault, two],
      ]),
    ).to.deep.equal(times(4, undefined));
    expect(
      saidAfter([
        [fault, one],
        [fault, one],
        [exhausted, one],
        [fault, one],
      ]),
    ).to.deep.equal(times(4, undefined));
  });

  it("are never final for a network, an outage or a stream that owed nothing", () => {
    for (const cause of [gone, full, new Error("cut")])
      expect(saidAfter(times(100, [cause, "Complete"]))).to.deep.equal(times(100, undefined));
    expect(saidAfter(times(100, [fault, ""]))).to.deep.equal(times(100, undefined));
  });

  it("count a connection that never came about for nothing", () => {
    const ends = saidAfter([
      [fault, "Complete"],
      [gone, ""],
      [fault, "Complete"],
      [gone, ""],
      [fault, "Complete"],
    ]);
    expect(ends).to.deep.equal([...times(4, undefined), "INTERNAL"]);
  });

  it("are final at the eighth supersession in a row, unless a stream between them lasted", () => {
    expect(saidAfter(times(8, [superseded, ""]))).to.deep.equal([...times(7, undefined), "STREAM_SUPERSEDED"]);
    expect(saidAfter([...times<[unknown, string]>(7, [superseded, ""]), [gone, ""], [superseded, ""]]).at(-1)).to.equal(
      undefined,
    );
    expect(saidAfter([...times<[unknown, string]>(7, [superseded, ""]), [superseded, "", 10_000]]).at(-1)).to.equal(
      undefined,
    );
  });
});
