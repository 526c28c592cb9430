import { expect } from "chai";
import { createSharedReads } from "../../src/server/database/shared-reads.js";
import { deferred } from "../support/deferred.js";
import { rejection } from "../support/rejection.js";

interface Row {
  id: string;
  version: number;
}

/** A table whose statements are answered by hand. */
function manualTable() {
  const statements: { keys: string[]; answer(rows: Row[]): void; fail(error: Error): void }[] = [];
  const read = (keys: string[]) => {
    const rows = deferred<Row[]>();
    statements.push({ keys, answer: rows.resolve, fail: rows.reject });
    return rows.promise;
  };
  return { statements, read };
}

const keyOf = ({ id }: Row) => id;
const row = (id: string, version = 1): Row => ({ id, version });
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("Shared reads", () => {
  it("put what is asked for in one turn, and what is asked for meanwhile, into one statement each", async () => {
    const { statements, read } = manualTable();
    const one = createSharedReads({ read, keyOf, patienceMs: 60_000 });
    const asked = [one("a"), one("b"), one("a")];
    await turn();
    for (const key of ["c", "d", "c"]) {
      asked.push(one(key));
      await turn();
    }
    expect(statements.map(({ keys }) => keys)).to.deep.equal([["a", "b"]]);
    statements[0]!.answer([row("b"), row("a")]);
    while (statements.length < 2) await turn();
    expect(statements[1]!.keys).to.deep.equal(["c", "d"]);
    statements[1]!.answer([row("c"), row("d")]);
    expect((await Promise.all(asked)).map((found) => found?.id)).to.deep.equal(["a", "b", "a", "c", "d", "c"]);
  });

  it("never answer with what a statement found that began before the question", async () => {
    const { statements, read } = manualTable();
    const one = createSharedReads({ read, keyOf, patienceMs: 60_000 });
    const early = one("a");
    await turn();
    const late = one("a");
    statements[0]!.answer([row("a", 1)]);
    while (statements.length < 2) await turn();
    statements[1]!.answer([row("a", 2)]);
    expect([await early, await late].map((found) => found?.version)).to.deep.equal([1, 2]);
  });

  it("say undefined for a key without a row", async () => {
    const one = createSharedReads<string, Row>({ read: async () => [], keyOf });
    expect(await one("a")).to.equal(undefined);
  });

  it("pass an error to those who shared the statement, and to nobody else", async () => {
    const { statements, read } = manualTable();
    const one = createSharedReads({ read, keyOf, patienceMs: 60_000 });
    const first = one("a");
    await turn();
    const second = one("b");
    statements[0]!.fail(new Error("gone"));
    expect((await rejection(first)).message).to.equal("gone");
    while (statements.length < 2) await turn();
    statements[1]!.answer([row("b")]);
    expect(await second).to.deep.equal(row("b"));
  });

  it("do not wait for a statement that hangs", async () => {
    const { statements, read } = manualTable();
    const one = createSharedReads({ read, keyOf, patienceMs: 1 });
    const hanging = one("a");
    await turn();
    const other = one("b");
    while (statements.length < 2) await turn();
    statements[1]!.answer([row("b")]);
    expect(await other).to.deep.equal(row("b"));
    statements[0]!.answer([row("a")]);
    expect(await hanging).to.deep.equal(row("a"));
  });

  it("ask for no more keys than a statement may have", async () => {
    const { statements, read } = manualTable();
    const one = createSharedReads({ read, keyOf, most: 2, patienceMs: 60_000 });
    const asked = ["a", "b", "c", "d"].map((key) => one(key));
    for (let n = 0; n < 2; n++) {
      while (statements.length <= n) await turn();
      statements[n]!.answer(statements[n]!.keys.map((key) => row(key)));
    }
    expect(statements.map(({ keys }) => keys)).to.deep.equal([
      ["a", "b"],
      ["c", "d"],
    ]);
    expect((await Promise.all(asked)).map((found) => found?.id)).to.deep.equal(["a", "b", "c", "d"]);
  });
});
