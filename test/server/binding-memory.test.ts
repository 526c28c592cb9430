import { expect } from "chai";
import type { BindRequest, BindResult } from "../../src/core/schema-binding.js";
import { rememberBindings } from "../../src/server/binding/binding-memory.js";
import { columns } from "../support/plans.js";
import { rejection } from "../support/rejection.js";

const request = (over: Partial<BindRequest> = {}): BindRequest => ({
  inputs: [columns("a: long")],
  expressions: [{ path: "e", sql: "a + 1" }],
  statements: [],
  sql: "SELECT a + 1 AS b FROM input0",
  ...over,
});

describe("memory of bindings", () => {
  const asked: string[] = [];
  const bind = async ({ sql }: BindRequest): Promise<BindResult> => {
    asked.push(sql);
    return sql === "broken"
      ? { ok: false, findings: [{ property: "", message: "No." }] }
      : { ok: true, schema: columns("b: long"), sql, nondeterminism: undefined };
  };
  beforeEach(() => asked.splice(0));

  it("answers the same request a second time without asking", async () => {
    const remembering = rememberBindings(bind);
    const first = await remembering(request());
    expect(await remembering(request())).to.deep.equal(first);
    expect(asked).to.have.lengthOf(1);
  });

  it("tells apart requests that differ in anything", async () => {
    const remembering = rememberBindings(bind);
    const variants = [
      request(),
      request({ sql: "SELECT a + 2 AS b FROM input0" }),
      request({ inputs: [columns("a: double")] }),
      request({ inputs: [columns("a: long"), columns("a: long")] }),
      request({ expressions: [{ path: "f", sql: "a + 1" }] }),
      request({ expressions: [{ path: "e", sql: "a + 1", expect: "boolean" }] }),
    ];
    for (const variant of variants) await remembering(variant);
    expect(asked).to.have.lengthOf(variants.length);
  });

  it("asks again for what was refused", async () => {
    const remembering = rememberBindings(bind);
    await remembering(request({ sql: "broken" }));
    await remembering(request({ sql: "broken" }));
    expect(asked).to.deep.equal(["broken", "broken"]);
  });

  it("forgets the answer nobody has used for longest when it is full", async () => {
    const remembering = rememberBindings(bind, { mostCharacters: 250 });
    for (const sql of ["1", "2", "1", "3"]) await remembering(request({ sql }));
    asked.splice(0);
    for (const sql of ["1", "3", "2"]) await remembering(request({ sql }));
    expect(asked).to.deep.equal(["2"]);
  });

  it("gives up at once for who has gone, also when it knows the answer", async () => {
    const remembering = rememberBindings(bind);
    await remembering(request());
    const gone = new Error("gone");
    expect(await rejection(remembering(request(), AbortSignal.abort(gone)))).to.equal(gone);
  });
});
