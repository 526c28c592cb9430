import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { objectPresence } from "../../src/server/executions/stored-object.js";
import { writeLikeParquet } from "../support/parquet-file.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("the presence of a stored object", () => {
  let root: string;
  let path: string;
  const presence = (byteCount = 100n) => objectPresence({ uri: pathToFileURL(path).href, byteCount });

  beforeEach(async () => {
    root = await makeTestDirectory();
    path = join(root, "project", "execution", "1", "port.parquet");
    await mkdir(join(path, ".."), { recursive: true });
    await writeLikeParquet(path, 100);
  });
  afterEach(() => removeTestDirectory(root));

  it("is whole in its full size with the marks of its format at both ends", async () => {
    expect(await presence()).to.equal("whole");
  });

  it("is broken when it is gone, with its execution or alone, of another size, or of other bytes", async () => {
    expect(await presence(99n)).to.equal("broken");
    await writeFile(path, Buffer.alloc(100));
    expect(await presence()).to.equal("broken");
    await rm(path);
    expect(await presence()).to.equal("broken");
    await rm(join(root, "project", "execution"), { recursive: true });
    expect(await presence()).to.equal("broken");
  });

  it("is unknown while storage as a whole is away", async () => {
    await rename(join(root, "project"), join(root, "elsewhere"));
    expect(await presence()).to.equal("unknown");
  });
});
