// What is left to chance, compiled by the real compiler: known before anything runs, said in a sentence, and passed on
// to everything downstream.
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { compile } from "../../src/core/compile.js";
import { chanceInCode } from "../../src/core/operators/code-chance.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { CHANCE_FUNCTIONS, PURE_FUNCTIONS } from "../../src/server/binding/expression-functions.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { planOf, resolveTestDataset, type ShortOperator } from "../support/plans.js";

const flights: ShortOperator = { type: "scan", dataset: "flights" };

describe("chance", () => {
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(() => binder.close());

  async function compiled(operators: Record<string, ShortOperator>): Promise<PhysicalPlan> {
    const { bindSchemas } = binder;
    const result = await compile(planOf(operators), { resolveDataset: resolveTestDataset, bindSchemas, planDigest });
    if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
    return result.plan;
  }

  /** The reasons of one operator over flights, of one behind it, and of one beside it. */
  async function reasonsOf(operator: ShortOperator): Promise<string[]> {
    const plan = await compiled({
      flights,
      dice: { ...operator, from: ["flights"] },
      behind: { type: "distinct", from: ["dice"] },
      joined: { type: "join", from: ["flights", "behind"], on: [{ left: "origin", right: "origin" }] },
      beside: { type: "distinct", from: ["flights"] },
    });
    const reason = (id: string) => plan.operators.find((o) => o.operatorId === id)!.outputs[0]!.uncacheableReason;
    for (const o of plan.operators)
      expect(o.outputs[0]!.subdagHash === "", o.operatorId).to.equal(o.outputs[0]!.uncacheableReason !== "");
    return ["dice", "behind", "joined", "beside"].map(reason);
  }

  async function expectChance(operator: ShortOperator, why: RegExp): Promise<void> {
    const [own, behind, joined, beside] = await reasonsOf(operator);
    expect(own).to.match(why);
    const passedOn = `It depends on "dice", which may differ from run to run. ${own}`;
    expect([behind, joined, beside]).to.deep.equal([passedOn, passedOn, ""]);
  }

  for (const expression of [
    "random()",
    "uuid()",
    "gen_random_uuid()",
    "uuidv4()",
    "uuidv7()",
    "now()",
    "today()",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtimestamp",
    "get_current_timestamp()",
    "transaction_timestamp()",
    "age(date)",
    "CASE WHEN delay > 3 THEN now() ELSE date END",
    "list_transform([1], x -> x + random())",
  ])
    it(`is known of ${expression} in a derive, and flows downstream`, async () => {
      const name = /[a-z_]\w*(?=\()|\w+/.exec(expression.replace(/^CASE.*THEN |^list_transform.*(?=random)/, ""))![0];
      await expectChance({ type: "derive", columns: [{ name: "c", expression }] }, new RegExp(`^${name}.* differs`));
    });

  it("is known of a filter that samples or looks at the clock", async () => {
    await expectChance({ type: "filter", predicate: "random() < 0.1" }, /^random\(\) differs from run to run\.$/);
    await expectChance({ type: "filter", predicate: "date < current_date" }, /^current_date differs/);
  });

  it("is known of a limit without a sort, and gone with one", async () => {
    await expectChance({ type: "limit", count: 5 }, /^Without a sort directly before it/);
    const sorted = await compiled({
      flights,
      sorted: { type: "sort", from: ["flights"], by: [{ column: "delay" }] },
      top: { type: "limit", from: ["sorted"], count: 5 },
    });
    expect(sorted.operators[2]!.outputs[0]!.uncacheableReason).to.equal("");
  });

  const javascript = (code: string, more: object = {}): ShortOperator => ({
    type: "javascript-function",
    code: `function processTuple(tuple) { ${code} }`,
    ...more,
  });
  const python = (code: string, more: object = {}): ShortOperator => ({
    type: "python-function",
    code: `${code}\ndef process_tuple(tuple_):\n    return tuple_\n`,
    ...more,
  });

  it("is declared by the author of a function", async () => {
    await expectChance(javascript("return tuple;", { deterministic: false }), /author says/);
    await expectChance(python("", { deterministic: false }), /author says/);
  });

  it("is seen in the code of a function whose author says nothing, and the author has the last word", async () => {
    await expectChance(javascript("return Math.random() < 0.5 ? tuple : null;"), /holds "Math\.random"/);
    await expectChance(python("import random"), /holds "import random".*set "deterministic" to true/);
    expect((await reasonsOf(javascript("return Math.random() < 2 ? tuple : 0;", { deterministic: true })))[0]).to.equal(
      "",
    );
    expect((await reasonsOf(python("import random\nrandom.seed(1)", { deterministic: true })))[0]).to.equal("");
    expect((await reasonsOf(javascript("return tuple;")))[0]).to.equal("");
  });

  it("is seen in code by what it calls, and not where a name only looks alike", () => {
    const seen = {
      javascript: [
        "new Date()",
        "new Date",
        "Date.now()",
        "Date()",
        "x = Math . random ()",
        "const { random } = Math;",
        'Math["random"]()',
        "Math?.random()",
        "const M = Math\nM.random()",
        "const D = Date; D.now()",
        'Date["now"]()',
        "const at = make(Date)",
      ],
      python: [
        "from random import choice",
        "import os, random",
        "    import uuid as u",
        "import secrets",
        "os.urandom(3)",
        "datetime.datetime.now()",
        "date.today()",
        "t = time.time_ns()",
        "from time import time",
        "h = hash(name)",
        "h = id(tuple_)",
        "from os import urandom",
        "from datetime import datetime as dt\ndt.now()",
        "import time as clock",
        "time.strftime('%Y')",
        "time.asctime()",
        "__import__('random').random()",
        "importlib.import_module('uuid')",
      ],
    } as const;
    const unseen = {
      javascript: [
        "new Date(tuple.date)",
        "tuple.Date(1)",
        "updated(now)",
        "toDate(x)",
        "MyDate()",
        "Math.round(x)",
        "tuple.Date",
        'tuple["Date"]',
        "x instanceof Date",
        "Date.UTC(2020, 1)",
        "return { Date: 1 }",
        'subject === "Math"',
      ],
      python: [
        "import math",
        "datetime.fromisoformat(x)",
        "x.hash(1)",
        "rehash(1)",
        "time.strftime('%Y', tuple_['at'])",
        "grid(1)",
        "x.id(1)",
        "{'now': 1}",
        "runtime.timer()",
        "random_name = 1",
        "import json  # not random",
      ],
    } as const;
    for (const language of ["javascript", "python"] as const) {
      for (const code of seen[language]) expect(chanceInCode(code, language), code).to.be.a("string");
      for (const code of unseen[language]) expect(chanceInCode(code, language), code).to.equal(undefined);
    }
  });

  it("is looked for in the longest code at once, however it is made", () => {
    const startedAt = performance.now();
    for (const piece of [
      " ",
      "\n",
      "\t ",
      "Date ",
      "new ",
      "Math. ",
      "= ",
      "(",
      "import ",
      "import time ",
      "time.strftime(",
      ". ",
      "x",
    ])
      for (const language of ["javascript", "python"] as const)
        chanceInCode(`a${piece.repeat(1_000_000 / piece.length)}`, language);
    expect(performance.now() - startedAt).to.be.lessThan(10_000);
  });

  it("is known of every function that DuckDB itself does not hold to be the same each time", async () => {
    const database = await DuckDBInstance.create(":memory:");
    const connection = await database.connect();
    try {
      const rows = await connection.runAndReadAll(
        `select distinct function_name from duckdb_functions()
          where function_type = 'scalar' and stability is distinct from 'CONSISTENT'`,
      );
      const unstable = rows.getRows().map(([name]) => String(name));
      expect(unstable).to.include.members(["random", "now", "uuid"]);
      // error() never gives a value, so no two runs can differ by it.
      for (const name of unstable.filter((one) => one !== "error"))
        expect(PURE_FUNCTIONS.has(name), name).to.equal(false);
      for (const name of CHANCE_FUNCTIONS) expect(PURE_FUNCTIONS.has(name), name).to.equal(false);
    } finally {
      connection.closeSync();
      database.closeSync();
    }
  });
});
