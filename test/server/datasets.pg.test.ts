import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { Permission, ResourceKind, Role } from "../../src/contract/postern/v1/access.js";
import type { RegisterDatasetRequest, UploadDatasetRequest } from "../../src/contract/postern/v1/dataset.js";
import { AttributeType, FileFormat_Kind, type Schema } from "../../src/contract/postern/v1/plan.js";
import { removeAbandonedUploads } from "../../src/server/datasets/dataset-files.js";
import { accessService } from "../../src/server/services/access-service.js";
import { datasetService, resolveDataset } from "../../src/server/services/dataset-service.js";
import { userContext } from "../support/contexts.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("DatasetService", () => {
  let database: MigratedDatabase;
  let directory: string;
  let access: ReturnType<typeof accessService>;
  let datasets: ReturnType<typeof datasetService>;
  const owner = userContext("olga");
  const viewer = userContext("vera");
  const stranger = userContext("stranger");
  const projectId = "p";
  before(async () => {
    database = await createMigratedDatabase();
    directory = await makeTestDirectory();
    for (const name of ["open", "closed", "results"]) await mkdir(join(directory, name));
    const { db } = database;
    access = accessService({
      db,
      connectedExecutors: () => ({ executors: 0, freeSlots: 0 }),
      mintServeToken: () => Promise.reject(new Error("not in this test")),
    });
    datasets = serviceWith({});
    await access.createProject({ requestId: "", projectId, name: "" }, owner);
    await access.putMember({ projectId, member: { subject: "vera", role: Role.ROLE_VIEWER } }, owner);
  });
  after(async () => {
    await database.close();
    await removeTestDirectory(directory);
  });

  const serviceWith = (more: { maxUploadBytes?: number; resultRoot?: string; datasetRoots?: string[] }) =>
    datasetService({
      db: database.db,
      datasetRoots: [join(directory, "open")],
      resultRoot: pathToFileURL(join(directory, "results")).href,
      maxUploadBytes: 1_000_000,
      ...more,
    });
  let count = 0;
  const newName = () => `data-${++count}`;
  const pathOf = (file: string) => join(directory, "open", file);
  const place = async (file: string, content: string | Buffer) => {
    await writeFile(pathOf(file), content);
    return pathToFileURL(pathOf(file)).href;
  };
  const register = (name: string, uri: string, more: Partial<RegisterDatasetRequest> = {}, context = owner) =>
    datasets.registerDataset({ requestId: "", projectId, name, uri, format: undefined, ...more }, context);
  async function* pieces(
    fileName: string,
    name: string,
    chunks: (string | Buffer)[],
  ): AsyncIterable<UploadDatasetRequest> {
    const byteCount = BigInt(chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0));
    yield { piece: { $case: "header", value: { projectId, name, fileName, format: undefined, byteCount } } };
    for (const chunk of chunks) yield { piece: { $case: "chunk", value: Buffer.from(chunk) } };
  }
  const upload = (name: string, fileName: string, chunks: (string | Buffer)[], context = owner, service = datasets) =>
    service.uploadDataset(pieces(fileName, name, chunks), context);
  const columns = (schema: Schema | undefined) =>
    schema!.attributes.map(
      ({ name, type }) => `${name}:${AttributeType[type]!.slice("ATTRIBUTE_TYPE_".length).toLowerCase()}`,
    );
  const sha256 = (content: string | Buffer) => createHash("sha256").update(content).digest("hex");
  /** Everything below the upload directory. */
  const uploads = async () => {
    const entries = await readdir(join(directory, "results"), { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  };

  describe("registering in place", () => {
    it("stores hash, schema, rows and size of a file", async () => {
      const content = "id,name,price,sold,at\n1,apple,1.5,true,2026-01-05\n2,pear,2,false,2026-01-06 10:00:00\n";
      const name = newName();
      const { version, created } = await register(name, await place("fruit.csv", content));
      expect(created).to.equal(true);
      expect(version).to.deep.include({
        datasetName: name,
        version: 1,
        contentHash: sha256(content),
        uri: pathToFileURL(pathOf("fruit.csv")).href,
        rowCount: 2n,
        malformedRowCount: 0n,
        byteCount: BigInt(content.length),
        createdBy: "olga",
        format: { kind: FileFormat_Kind.KIND_CSV, delimiter: ",", header: true, encoding: "" },
      });
      expect(columns(version?.schema).slice(0, 4)).to.deep.equal([
        "id:long",
        "name:string",
        "price:double",
        "sold:boolean",
      ]);
    });

    it("makes no version of the same bytes, and one of other bytes or another reading", async () => {
      const name = newName();
      const uri = await place("same.csv", "a;b\n1;2\n");
      const first = await register(name, uri);
      expect((await register(name, uri)).created).to.equal(false);
      const format = { kind: FileFormat_Kind.KIND_CSV, delimiter: ",", header: true, encoding: "" };
      const otherReading = await register(name, uri, { format });
      expect([otherReading.created, otherReading.version?.version]).to.deep.equal([true, 2]);
      await place("same.csv", "a;b\n1;3\n");
      const otherBytes = await register(name, uri);
      expect([otherBytes.created, otherBytes.version?.version]).to.deep.equal([true, 3]);
      expect(otherBytes.version?.datasetId).to.equal(first.version?.datasetId);
    });

    it("counts malformed rows, and tells them wherever it tells a version", async () => {
      const name = newName();
      const { version } = await register(name, await place("malformed.csv", "a,b\n1,2\n3\n4,5\n6,7,8\n9,10\n"));
      expect([version?.rowCount, version?.malformedRowCount]).to.deep.equal([3n, 2n]);
      const page = { projectId, name, pageSize: 0, pageToken: "" };
      const listed = await datasets.listDatasetVersions(page, owner);
      expect(listed.versions.map((one) => one.malformedRowCount)).to.deep.equal([2n]);
      const resolved = await datasets.resolveDataset({ projectId, reference: name }, owner);
      expect(resolved.version).to.deep.equal(version);
    });

    it("reads the encoding it is told, which is part of how a file is read", async () => {
      const name = newName();
      const uri = await place("latin.csv", Buffer.from("größe,b\n1,é\n2,x\n3,y\n", "latin1"));
      const format = { kind: FileFormat_Kind.KIND_UNSPECIFIED, delimiter: "", header: undefined, encoding: "latin-1" };
      const { version } = await register(name, uri, { format });
      expect(version?.format?.encoding).to.equal("latin-1");
      expect(columns(version?.schema)).to.deep.equal(["größe:long", "b:string"]);
      expect((await register(name, uri, { format })).created).to.equal(false);
      const unknown = { ...format, encoding: "ebcdic" };
      const error = await rejection(register(name, uri, { format: unknown }));
      expect(error).to.include({ code: "invalid" });
      expect(error.message).to.match(/no encoding "ebcdic"; it must be one of utf-8, utf-16, latin-1/);
    });

    it("knows a version stored before there were encodings again", async () => {
      const name = newName();
      const uri = await place("before.csv", "a\n1\n");
      const { version } = await register(name, uri);
      await database.db.query("update dataset_version set format = format - 'encoding' where dataset_id = :id", {
        id: version!.datasetId,
      });
      const again = await register(name, uri);
      expect(again).to.deep.equal({ version, created: false });
    });

    it("numbers concurrent versions without holes", async () => {
      const name = newName();
      const uris = await Promise.all(Array.from({ length: 6 }, (_, i) => place(`many-${i}.csv`, `a\n${i}\n`)));
      const put = await Promise.all(uris.map((uri) => register(name, uri)));
      expect(put.map(({ version }) => version!.version).sort()).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(new Set(put.map(({ version }) => version!.datasetId)).size).to.equal(1);
    });

    it("returns the stored reply to a repeated request, also when the file is gone", async () => {
      const name = newName();
      const uri = await place("gone.csv", "a\n1\n");
      const first = await register(name, uri, { requestId: "gone-1" });
      await rm(pathOf("gone.csv"));
      expect(await register(name, uri, { requestId: "gone-1" })).to.deep.equal(first);
    });

    it("answers alike for files outside the opened directories, whether they exist or not, also through links", async () => {
      const secret = join(directory, "closed", "secret.csv");
      await writeFile(secret, "a\n1\n");
      await symlink(secret, pathOf("to-secret.csv"));
      await symlink(join(directory, "closed", "nothing.csv"), pathOf("to-nothing.csv"));
      await symlink(join(directory, "closed"), pathOf("to-closed"));
      await symlink(join(directory, "no-directory"), pathOf("to-no-directory"));
      await symlink("circle.csv", pathOf("circle.csv"));
      const open = pathToFileURL(join(directory, "open")).href;
      const uris = [
        pathToFileURL(secret).href,
        pathToFileURL(join(directory, "closed", "nothing.csv")).href,
        `${open}/../closed/secret.csv`,
        `${open}/%2e%2e/closed/secret.csv`,
        `${open}/to-secret.csv`,
        `${open}/to-nothing.csv`,
        `${open}/to-closed/secret.csv`,
        `${open}/to-closed/nothing.csv`,
        `${open}/to-closed/nothing/at/all.csv`,
        `${open}/to-no-directory/x.csv`,
        `${open}/circle.csv`,
        `${open}-else/x.csv`,
        "file:///etc/passwd",
        "file:///no/such/file.csv",
      ];
      const messages = new Set<string>();
      for (const uri of uris) {
        const error = await rejection(register(newName(), uri));
        expect(error, uri).to.include({ code: "invalid", reason: "URI_OUTSIDE_PREFIX" });
        messages.add(error.message);
      }
      expect(messages.size).to.equal(1);
    });

    it("follows links that stay inside, and stores where the file really is", async () => {
      await place("real.csv", "a\n1\n");
      await symlink(pathOf("real.csv"), pathOf("alias.csv"));
      const { version } = await register(newName(), pathToFileURL(pathOf("alias.csv")).href);
      expect(version?.uri).to.equal(pathToFileURL(pathOf("real.csv")).href);
    });

    it("follows a link that is itself an opened directory", async () => {
      await symlink(join(directory, "open"), join(directory, "door"));
      await place("behind.csv", "a\n1\n");
      const service = serviceWith({ datasetRoots: [join(directory, "door")] });
      const uri = pathToFileURL(join(directory, "door", "behind.csv")).href;
      const { version } = await service.registerDataset(
        { requestId: "", projectId, name: newName(), uri, format: undefined },
        owner,
      );
      expect(version?.uri).to.equal(pathToFileURL(pathOf("behind.csv")).href);
      const absent = pathToFileURL(join(directory, "door", "absent.csv")).href;
      const request = { requestId: "", projectId, name: newName(), uri: absent, format: undefined };
      expect((await rejection(service.registerDataset(request, owner))).message).to.match(/no such file/);
    });

    it("refuses what is absent, no regular file, unreadable, or no file URI, each with a sentence", async () => {
      await mkdir(pathOf("folder.csv"));
      const cases: [string, RegExp][] = [
        [pathToFileURL(pathOf("absent.csv")).href, /no such file/],
        [pathToFileURL(pathOf("absent/absent.csv")).href, /no such file/],
        [pathToFileURL(pathOf("folder.csv")).href, /no regular file/],
        ["http://example.org/a.csv", /no file URI/],
        [pathOf("absent.csv"), /no file URI/],
        ["file://host/a.csv", /no file URI/],
        [`file://${pathOf("a%00b.csv")}`, /no file URI/],
        ["", /no file URI/],
      ];
      for (const [uri, message] of cases) {
        const error = await rejection(register(newName(), uri));
        expect(error, uri).to.include({ code: "invalid" });
        expect(error.message).to.match(message);
      }
    });

    it("refuses a file the server's account may not read (pending for root, who may read all)", async function () {
      if (process.getuid?.() === 0) return this.skip();
      const uri = await place("unreadable.csv", "a\n1\n");
      await chmod(pathOf("unreadable.csv"), 0);
      expect((await rejection(register(newName(), uri))).message).to.match(/may not read/);
    });

    it("refuses when nothing is opened", async () => {
      const service = serviceWith({ datasetRoots: [] });
      const uri = await place("shut.csv", "a\n1\n");
      const request = { requestId: "", projectId, name: newName(), uri, format: undefined };
      expect(await rejection(service.registerDataset(request, owner))).to.include({ reason: "URI_OUTSIDE_PREFIX" });
    });
  });

  describe("uploading", () => {
    it("stores the bytes by dataset and hash, whole, and leaves nothing else", async () => {
      const name = newName();
      const chunks = ["a,b\n", "1,x\n2", ",y\n"];
      const { version, created } = await upload(name, "C:\\data\\../My File.CSV", chunks);
      const hash = sha256(chunks.join(""));
      expect([created, version?.contentHash, version?.rowCount]).to.deep.equal([true, hash, 2n]);
      const path = fileURLToPath(version!.uri);
      expect(path).to.equal(join(directory, "results", "datasets", projectId, version!.datasetId, `${hash}.csv`));
      expect(await readFile(path, "utf8")).to.equal(chunks.join(""));
      expect((await uploads()).filter((file) => file.includes(".upload-"))).to.deep.equal([]);
    });

    it("mends an object whose bytes are no longer those of its name", async () => {
      const name = newName();
      const { version } = await upload(name, "a.csv", ["a\n1\n"]);
      await writeFile(fileURLToPath(version!.uri), "a\n2\n");
      const again = await upload(name, "a.csv", ["a\n1\n"]);
      expect(again.version?.uri).to.equal(version!.uri);
      expect(await readFile(fileURLToPath(version!.uri), "utf8")).to.equal("a\n1\n");
      expect(await resolveDataset(database.db, owner.caller, projectId, name)).to.include({
        contentHash: version!.contentHash,
      });
    });

    it("uses the object that is there for identical bytes, also of an older version", async () => {
      const name = newName();
      const first = await upload(name, "a.csv", ["a\n1\n"]);
      expect((await upload(name, "b.csv", ["a\n", "1\n"])).created).to.equal(false);
      await upload(name, "a.csv", ["a\n2\n"]);
      const again = await upload(name, "a.csv", ["a\n1\n"]);
      expect([again.created, again.version?.version, again.version?.uri]).to.deep.equal([true, 3, first.version?.uri]);
      expect((await uploads()).filter((file) => file.includes(first.version!.datasetId))).to.have.length(2);
      for (const version of ["1", "2", "3"])
        expect(await resolveDataset(database.db, owner.caller, projectId, `${name}@${version}`)).to.not.equal(
          undefined,
        );
    });

    it("makes one version of identical bytes uploaded at the same moment", async () => {
      const name = newName();
      for (const content of ["a\n1\n", "a\n2\n"]) {
        const puts = await Promise.all(Array.from({ length: 5 }, () => upload(name, "a.csv", [content])));
        expect(puts.filter(({ created }) => created)).to.have.length(1);
        expect(new Set(puts.map(({ version }) => version?.uri)).size).to.equal(1);
      }
      expect((await uploads()).filter((file) => file.includes(".upload-"))).to.deep.equal([]);
    });

    it("keeps compressed files compressed", async () => {
      const content = gzipSync("a,b\n1,x\n");
      const { version } = await upload(newName(), "a.csv.gz", [content]);
      expect(version).to.deep.include({ contentHash: sha256(content), rowCount: 1n });
      expect(version?.uri).to.match(/\.csv\.gz$/);
    });

    it("removes the file of an upload that breaks, is too large, or cannot be read", async () => {
      const before = await uploads();
      const name = newName();
      async function* breaking() {
        yield* pieces("a.csv", name, ["a\n1\n"]);
        throw new Error("the client went away");
      }
      expect((await rejection(datasets.uploadDataset(breaking(), owner))).message).to.equal("the client went away");
      const large = await rejection(
        upload(name, "a.csv", ["a\n", "1".repeat(600), "1".repeat(600)], owner, serviceWith({ maxUploadBytes: 1000 })),
      );
      expect(large).to.include({ code: "exhausted", reason: "QUOTA_EXCEEDED" });
      const broken = await rejection(upload(name, "a.csv", ["a,b\n1,2\n3\n4\n"]));
      expect(broken).to.include({ code: "invalid", reason: "DATASET_UNREADABLE" });
      const empty = await rejection(upload(name, "a.csv", []));
      expect(empty).to.include({ reason: "DATASET_UNREADABLE" });
      expect(await uploads()).to.deep.equal(before);
      const none = datasets.listDatasetVersions({ projectId, name, pageSize: 0, pageToken: "" }, owner);
      expect(await rejection(none)).to.include({ code: "not-found" });
    });

    it("refuses an upload that ends before or after the size its header tells, and keeps nothing of it", async () => {
      const before = await uploads();
      for (const byteCount of [undefined, -1n, 3n, 5n]) {
        async function* miscounted(): AsyncIterable<UploadDatasetRequest> {
          const value = { projectId, name: newName(), fileName: "a.csv", format: undefined, byteCount };
          yield { piece: { $case: "header", value } };
          yield { piece: { $case: "chunk", value: Buffer.from("a\n1\n") } };
        }
        expect(await rejection(datasets.uploadDataset(miscounted(), owner)), `${byteCount}`).to.include({
          code: "invalid",
        });
      }
      expect(await uploads()).to.deep.equal(before);
    });

    it("says that the storage is full, and leaves nothing there (needs user namespaces to mount a small disk)", async function () {
      const run = promisify(execFile);
      const namespace = ["--user", "--map-root-user", "--mount"];
      const mount = (size: string) => `mount -t tmpfs -o size=${size} tmpfs "$1"`;
      const disk = join(directory, "small-disk");
      await mkdir(disk);
      const possible = await run("unshare", [...namespace, "sh", "-c", mount("64k"), "sh", disk]).catch(
        () => undefined,
      );
      if (!possible) return this.skip();
      const child = fileURLToPath(new URL("../support/upload-until-full.ts", import.meta.url));
      const script = `${mount("1m")} && exec "$2" --import tsx "$3" "$1"`;
      const { stdout } = await run("unshare", [...namespace, "sh", "-c", script, "sh", disk, process.execPath, child]);
      expect(JSON.parse(stdout)).to.deep.equal({ outcome: "exhausted STORAGE_FULL", left: [] });
    });

    it("says that the storage cannot be written", async () => {
      await writeFile(join(directory, "a-file"), "");
      const service = serviceWith({ resultRoot: pathToFileURL(join(directory, "a-file")).href });
      const error = await rejection(upload(newName(), "a.csv", ["a\n1\n"], owner, service));
      expect(error).to.include({ code: "unavailable" });
      expect(error.message).to.match(/POSTERN_RESULT_ROOT/);
    });

    it("refuses messages out of order, and a name that tells no format, before any byte is stored", async () => {
      const header = {
        $case: "header",
        value: { projectId, name: newName(), fileName: "a.csv", format: undefined, byteCount: 4n },
      } as const;
      const chunk = { $case: "chunk", value: Buffer.from("a\n1\n") } as const;
      async function* stream(...all: UploadDatasetRequest["piece"][]) {
        for (const piece of all) yield { piece };
      }
      const before = await uploads();
      for (const all of [[], [chunk], [undefined], [header, header], [header, chunk, undefined]])
        expect(await rejection(datasets.uploadDataset(stream(...all), owner))).to.include({ code: "invalid" });
      expect(await rejection(upload(newName(), "a.xls", ["x"]))).to.include({ code: "invalid" });
      expect(await uploads()).to.deep.equal(before);
    });

    it("is refused to viewers and strangers before any byte is stored", async () => {
      const before = await uploads();
      expect(await rejection(upload(newName(), "a.csv", ["a\n1\n"], viewer))).to.include({ code: "forbidden" });
      expect(await rejection(upload(newName(), "a.csv", ["a\n1\n"], stranger))).to.include({ code: "not-found" });
      expect(await uploads()).to.deep.equal(before);
    });

    it("that a dead server left is removed after a day", async () => {
      const root = join(directory, "results", "datasets");
      await mkdir(join(root, projectId), { recursive: true });
      const left = join(root, projectId, ".upload-x.csv");
      await writeFile(left, "a");
      const [now, dayAgo] = [new Date(), new Date(Date.now() - 25 * 60 * 60 * 1000)];
      expect(await removeAbandonedUploads(root, now)).to.equal(0);
      await utimes(left, dayAgo, dayAgo);
      expect(await removeAbandonedUploads(root, now)).to.equal(1);
      expect(await uploads()).to.not.include(left);
    });
  });

  describe("resolving", () => {
    const resolve = (reference: string, context = owner, project = projectId) =>
      datasets.resolveDataset({ projectId: project, reference }, context);

    it("finds the newest version, a numbered one, and another project's", async () => {
      const name = newName();
      const uri = await place("resolve.csv", "a\n1\n");
      await register(name, uri);
      await place("resolve.csv", "a\n2\n");
      await register(name, uri);
      expect((await resolve(name)).version?.version).to.equal(2);
      expect((await resolve(`${name}@1`)).version?.version).to.equal(1);
      expect((await resolve(`${projectId}/${name}@2`, owner, "elsewhere")).version?.version).to.equal(2);
    });

    it("answers alike for what is absent and what is forbidden", async () => {
      const name = newName();
      await register(name, await place("hidden.csv", "a\n1\n"));
      const errors = [];
      for (const [reference, as] of [
        [name, stranger],
        ["absent", stranger],
        ["absent", owner],
        [`${name}@9`, owner],
        [`no-project/${name}`, owner],
      ] as const) {
        const error = await rejection(resolve(reference, as));
        errors.push([error.code, error.reason, error.message.replace(JSON.stringify(reference), "*")].join(" "));
        expect(await resolveDataset(database.db, as.caller, projectId, reference)).to.equal(undefined);
      }
      expect(new Set(errors).size).to.equal(1);
      expect(errors[0]).to.match(/^not-found NOT_FOUND/);
    });

    it("is allowed by membership, a grant and the public flag", async () => {
      const name = newName();
      await register(name, await place("shared.csv", "a\n1\n"));
      const resource = { kind: ResourceKind.RESOURCE_KIND_DATASET, id: name };
      await resolve(name, viewer);
      await access.putGrant(
        { projectId, grant: { resource, subject: "gina", permission: Permission.PERMISSION_READ } },
        owner,
      );
      await resolve(`${projectId}/${name}`, userContext("gina"), "elsewhere");
      await access.setPublic({ projectId, resource, public: true }, owner);
      await resolve(name, stranger);
    });

    it("refuses what is no reference", async () => {
      for (const reference of ["", "a b", "a@", "a@0", "a@x", "a/b/c", "/a", "a@1@2"]) {
        expect(await rejection(resolve(reference)), reference).to.include({ code: "invalid" });
        expect(await resolveDataset(database.db, owner.caller, projectId, reference)).to.equal(undefined);
      }
    });

    it("gives a plan everything a reader needs", async () => {
      const name = newName();
      const uri = await place("scan.jsonl", '{"a":1,"b":{"c":2}}\n');
      const { version } = await register(name, uri);
      expect(await resolveDataset(database.db, viewer.caller, projectId, name)).to.deep.equal({
        datasetId: version?.datasetId,
        datasetName: name,
        version: 1,
        contentHash: version?.contentHash,
        uri,
        format: { kind: "json", delimiter: "", header: undefined, encoding: "" },
        offset: 0n,
        limit: undefined,
        malformedRows: "fail",
        rowCount: 1n,
        malformedRowCount: 0n,
        byteCount: 20n,
        fileSchema: [
          { name: "a", type: "long" },
          { name: "b", type: "any" },
        ],
      });
    });

    it("refuses a file that is gone, was replaced or was touched, until it is registered again", async () => {
      const name = newName();
      const uri = await place("changing.csv", "a\n1\n");
      await register(name, uri);
      const pin = () => resolveDataset(database.db, owner.caller, projectId, name);
      const refused = async () =>
        expect(await rejection(pin())).to.include({ code: "precondition", reason: "DATASET_CHANGED" });
      expect((await pin())?.version).to.equal(1);
      await rename(pathOf("changing.csv"), pathOf("away.csv"));
      await refused();
      await rename(pathOf("away.csv"), pathOf("changing.csv"));
      expect((await pin())?.version).to.equal(1);
      await utimes(pathOf("changing.csv"), new Date(), new Date("2020-01-01"));
      await refused();
      expect((await register(name, uri)).created).to.equal(false);
      expect((await pin())?.version).to.equal(1);
      await place("changing.csv", "a\n12\n");
      await refused();
      expect((await register(name, uri)).created).to.equal(true);
      expect((await pin())?.version).to.equal(2);
    });

    it("finds the bytes of a lost file again when they are uploaded", async () => {
      const name = newName();
      await register(name, await place("lost.csv", "a\n1\n"));
      await rm(pathOf("lost.csv"));
      const { created, version } = await upload(name, "lost.csv", ["a\n1\n"]);
      expect([created, version?.version]).to.deep.equal([false, 1]);
      expect((await resolveDataset(database.db, owner.caller, projectId, name))?.uri).to.equal(version?.uri);
    });
  });

  describe("lists", () => {
    it("page through the datasets by name, and show a stranger only what was opened", async () => {
      for (const name of ["list-b", "list-a", "list-c"]) await upload(name, "a.csv", ["a\n1\n"]);
      const resource = { kind: ResourceKind.RESOURCE_KIND_DATASET, id: "list-b" };
      await access.putGrant(
        { projectId, grant: { resource, subject: "gus", permission: Permission.PERMISSION_READ } },
        owner,
      );
      const list = async (context = viewer) => {
        const names = [];
        for (let pageToken: string | undefined = ""; pageToken !== undefined; ) {
          const page: Awaited<ReturnType<typeof datasets.listDatasets>> = await datasets.listDatasets(
            { projectId, pageSize: 2, pageToken },
            context,
          );
          names.push(...page.datasets.filter((d) => !d.public).map(({ name }) => name));
          pageToken = page.nextPageToken || undefined;
        }
        return names;
      };
      expect((await list()).filter((name) => name.startsWith("list-"))).to.deep.equal(["list-a", "list-b", "list-c"]);
      expect(await list(userContext("gus"))).to.deep.equal(["list-b"]);
    });

    it("page through the versions newest first", async () => {
      const name = newName();
      for (let i = 0; i < 3; i++) await upload(name, "a.csv", [`a\n${i}\n`]);
      const request = { projectId, name, pageSize: 2, pageToken: "" };
      const first = await datasets.listDatasetVersions(request, viewer);
      const second = await datasets.listDatasetVersions({ ...request, pageToken: first.nextPageToken }, viewer);
      expect([first, second].map((page) => page.versions.map(({ version }) => version))).to.deep.equal([[3, 2], [1]]);
      expect(second.nextPageToken).to.equal("");
    });
  });
});
