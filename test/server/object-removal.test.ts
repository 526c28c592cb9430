import { mkdir, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect } from "chai";
import { newId } from "../../src/core/ids.js";
import { removeObject } from "../../src/server/storage/object-removal.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("removeObject", () => {
  let directory: string;
  let root: string;
  beforeEach(async () => {
    directory = await makeTestDirectory();
    root = pathToFileURL(join(directory, "results")).href;
  });
  afterEach(() => removeTestDirectory(directory));

  const uriOf = (executionId: string, name: string) => `${root}/p/${executionId}/1/${name}/rows.parquet`;
  const pathOf = (uri: string) => fileURLToPath(uri);
  async function write(uri: string): Promise<string> {
    await mkdir(dirname(pathOf(uri)), { recursive: true });
    await writeFile(pathOf(uri), "rows");
    return uri;
  }
  const isThere = (uri: string) =>
    stat(pathOf(uri)).then(
      () => true,
      () => false,
    );

  const object = (executionId: string, uri: string) => ({ projectId: "p", executionId, uri });

  it("takes an object that is gone, and one whose directories are, for deleted", async () => {
    const id = newId();
    const uri = await write(uriOf(id, "a"));
    await removeObject(root, object(id, uri));
    await removeObject(root, object(id, uri));
    expect(await isThere(uri)).to.equal(false);
  });

  for (const where of ["another execution's", "another project's", "outside the root", "by .."]) {
    it(`refuses an object ${where === "by .." ? where : `that is ${where}`}`, async () => {
      const [id, other] = [newId(), newId()];
      const uri = {
        "another execution's": uriOf(other, "a"),
        "another project's": `${root}/q/${id}/1/a/rows.parquet`,
        "outside the root": pathToFileURL(join(directory, "kept")).href,
        "by ..": `${root}/p/${id}/../../../kept`,
      }[where]!;
      await mkdir(dirname(pathOf(uri)), { recursive: true });
      await writeFile(pathOf(uri), "kept");
      expect(await rejection(removeObject(root, object(id, uri)))).to.include({ reason: "URI_OUTSIDE_PREFIX" });
      expect(await isThere(uri)).to.equal(true);
    });
  }

  it("follows no symbolic link out of the execution's directory, and deletes a link itself", async () => {
    const id = newId();
    const outside = join(directory, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "rows.parquet"), "kept");
    const uri = await write(uriOf(id, "a"));
    await rm(dirname(pathOf(uri)), { recursive: true });
    await symlink(outside, dirname(pathOf(uri)));
    await rejection(removeObject(root, object(id, uri)));
    expect(await readdir(outside)).to.deep.equal(["rows.parquet"]);

    const link = await write(uriOf(id, "b"));
    await rm(pathOf(link));
    await symlink(join(outside, "rows.parquet"), pathOf(link));
    await removeObject(root, object(id, link));
    expect(await readdir(outside)).to.deep.equal(["rows.parquet"]);
  });

  it("refuses a directory", async () => {
    const id = newId();
    const uri = await write(uriOf(id, "a"));
    await rejection(removeObject(root, object(id, uri.replace(/\/rows.parquet$/, ""))));
    expect(await isThere(uri)).to.equal(true);
  });
});
