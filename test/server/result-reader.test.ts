import { pathToFileURL } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import type { AppError } from "../../src/core/app-error.js";
import { createSchemaBinder } from "../../src/server/binding/schema-binder.js";
import { createResultReader, isDamaged } from "../../src/server/results/result-reader.js";
import { writeLikeParquet } from "../support/parquet-file.js";
import { scratch } from "../support/plan-runs.js";
import { rejection } from "../support/rejection.js";

describe("a reader of results", function () {
  this.timeout(60_000);

  it("takes a result for damaged that cannot be read, never because of an expression that needs too much", async () => {
    const { directory, uri: resultRoot, remove } = scratch();
    const path = `${directory}/rows.parquet`;
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const binder = await createSchemaBinder();
    const reader = await createResultReader({ resultRoot, bindSchemas: binder.bindSchemas });
    try {
      await connection.run(`COPY (SELECT range AS n FROM range(5000)) TO '${path}' (FORMAT parquet)`);
      const result = { uri: pathToFileURL(path).href, schema: [{ name: "n", type: "long" as const }] };
      const read = (where: string) =>
        reader.readRows(result, { offset: 0n, limit: 5, columns: [], where }, new AbortController().signal);
      for (const where of ["len(repeat('x', n + 500000)) > 0", "len(range(n + 2000000)) > 0"]) {
        const refused = (await rejection(read(where))) as AppError;
        expect(refused, where)
          .to.include({ code: "invalid" })
          .and.property("message")
          .match(/^where: .*memory.*simpler/);
        expect(isDamaged(refused)).to.equal(false);
      }
      expect((await read("n >= 4998")).totalRows).to.equal(2n);
      await writeLikeParquet(path, 1_000);
      expect(isDamaged(await rejection(read("n > 0")))).to.equal(true);
    } finally {
      reader.close();
      await binder.close();
      connection.closeSync();
      instance.closeSync();
      remove();
    }
  });

  it("gives a filter up when nobody waits for its rows any more, at work or in line, and goes on with the next", async function () {
    // Less than the deadline of one filter.
    this.timeout(18_000);
    const { directory, uri: resultRoot, remove } = scratch();
    const path = `${directory}/rows.parquet`;
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const binder = await createSchemaBinder();
    const reader = await createResultReader({ resultRoot, bindSchemas: binder.bindSchemas });
    try {
      await connection.run(`COPY (SELECT range AS n FROM range(2000000)) TO '${path}' (FORMAT parquet)`);
      const result = { uri: pathToFileURL(path).href, schema: [{ name: "n", type: "long" as const }] };
      const read = (where: string, signal: AbortSignal) =>
        reader.readRows(result, { offset: 0n, limit: 5, columns: [], where }, signal);
      // Far longer than the deadline of a filter.
      const endless = "len(list_filter(range(5000), lambda x: (x * n) % 7 = 3)) < 0";
      const leaving = [new AbortController(), new AbortController()];
      const left = leaving.map(({ signal }) => rejection(read(endless, signal)));
      const next = read("n < 3", new AbortController().signal);
      setTimeout(() => {
        for (const one of leaving) one.abort(new Error("left"));
      }, 1_500);
      for (const error of await Promise.all(left)) expect(error).to.have.property("message", "left");
      expect((await next).totalRows).to.equal(3n);
    } finally {
      reader.close();
      await binder.close();
      connection.closeSync();
      instance.closeSync();
      remove();
    }
  });
});
