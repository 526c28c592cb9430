import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { isWholeObject } from "../../src/executor/run/object-check.js";
import { scratch } from "../support/plan-runs.js";

describe("a stored object", () => {
  let place: ReturnType<typeof scratch>;
  beforeEach(() => {
    place = scratch();
  });
  afterEach(() => place.remove());

  const wholeAfter = (content: string, byteCount: bigint) => {
    const path = join(place.directory, "object");
    writeFileSync(path, content);
    return isWholeObject(path, byteCount);
  };

  it("is whole when it has its size and begins and ends as Parquet does", async () => {
    expect(await wholeAfter("PAR1 rows PAR1", 14n)).to.equal(true);
    expect(await wholeAfter("PAR1PAR1", 8n)).to.equal(true);
  });

  it("is not whole when it is shorter, longer, or empty inside", async () => {
    expect(await wholeAfter("PAR1 rows PA", 14n), "cut off").to.equal(false);
    expect(await wholeAfter("PAR1 PAR1 PAR1", 9n), "longer").to.equal(false);
    expect(await wholeAfter("PAR1 rows PAR1", 15n), "a byte short").to.equal(false);
    expect(await wholeAfter("\0".repeat(14), 14n), "left empty by a crash").to.equal(false);
    expect(await wholeAfter("PAR1 rows \0\0\0\0", 14n)).to.equal(false);
    expect(await wholeAfter("\0\0\0\0 rows PAR1", 14n)).to.equal(false);
    expect(await wholeAfter("", 14n)).to.equal(false);
    expect(await wholeAfter("", 0n)).to.equal(false);
  });

  it("is not whole when it is gone, or no file", async () => {
    expect(await isWholeObject(join(place.directory, "absent"), 8n)).to.equal(false);
    mkdirSync(join(place.directory, "directory"));
    expect(await isWholeObject(join(place.directory, "directory"), 8n)).to.equal(false);
  });

  it("is looked at once for all who ask at the same time, and again for those who ask later", async () => {
    const path = join(place.directory, "object");
    writeFileSync(path, "PAR1 rows PAR1");
    const first = isWholeObject(path, 14n);
    expect(isWholeObject(path, 14n)).to.equal(first);
    expect(await isWholeObject(path, 15n), "of another size").to.equal(false);
    expect(await first).to.equal(true);
    rmSync(path);
    expect(await isWholeObject(path, 14n)).to.equal(false);
  });
});
