import { expect } from "chai";
import { CreateProjectRequest, CreateProjectResponse } from "../../src/contract/postern/v1/access.js";
import { deleteOldReplies, REPLY_KEPT_MS, replayable, storedReply } from "../../src/server/request-replies.js";
import { deferred } from "../support/deferred.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";

describe("request ids", () => {
  let database: MigratedDatabase;
  before(async () => {
    database = await createMigratedDatabase();
  });
  after(() => database.close());

  let count = 0;
  const reply = (id: string): CreateProjectResponse =>
    CreateProjectResponse.fromPartial({ project: { id, createdAt: new Date("2026-01-02T03:04:05Z") } });
  const callOf = (requestId: string, name = "a", subject = "ann") => ({
    subject,
    projectId: "p",
    requestId,
    method: "CreateProject",
    request: CreateProjectRequest.fromPartial({ requestId, projectId: "p", name }),
    requestType: CreateProjectRequest,
    replyType: CreateProjectResponse,
  });
  const run = (call: ReturnType<typeof callOf>, work = async () => reply(`made-${++count}`)) =>
    replayable(database.db, call, work);

  it("return the stored reply when id and body are the same, without doing the work again", async () => {
    const first = await run(callOf("same"));
    let again = 0;
    const second = await run(callOf("same"), async () => {
      again++;
      return reply("other");
    });
    expect(second).to.deep.equal(first);
    expect(again).to.equal(0);
    expect(await storedReply(database.db, callOf("same"))).to.deep.equal(first);
  });

  it("refuse another body, and another call, under the same id", async () => {
    await run(callOf("taken"));
    const otherBody = await rejection(run(callOf("taken", "b")));
    const otherCall = await rejection(run({ ...callOf("taken"), method: "PutWorkflow" }));
    const lookUp = await rejection(storedReply(database.db, callOf("taken", "b")));
    for (const error of [otherBody, otherCall, lookUp])
      expect(error).to.include({ code: "conflict", reason: "REQUEST_ID_REUSED" });
  });

  it("belong to one subject and one project", async () => {
    const mine = await run(callOf("shared"));
    const others = await run(callOf("shared", "a", "bob"));
    const elsewhere = await run({ ...callOf("shared"), projectId: "q" });
    expect(new Set([mine, others, elsewhere].map((r) => r.project?.id)).size).to.equal(3);
  });

  it("do nothing when they are empty", async () => {
    const [first, second] = [await run(callOf("")), await run(callOf(""))];
    expect(first.project?.id).to.not.equal(second.project?.id);
    expect(await storedReply(database.db, callOf(""))).to.equal(undefined);
  });

  it("are refused when they are too long or hold spaces", async () => {
    for (const id of ["x".repeat(129), "a b", "ä", "a\n"])
      expect(await rejection(run(callOf(id)))).to.include({ code: "invalid" });
  });

  it("make concurrent duplicates wait for the first, and do the work once", async () => {
    const [started, go] = [deferred(), deferred()];
    let done = 0;
    const work = async () => {
      done++;
      started.resolve();
      await go.promise;
      return reply("once");
    };
    const first = run(callOf("race"), work);
    await started.promise;
    const others = Array.from({ length: 5 }, () => run(callOf("race"), work));
    go.resolve();
    const replies = await Promise.all([first, ...others]);
    expect(done).to.equal(1);
    for (const one of replies) expect(one).to.deep.equal(reply("once"));
  });

  it("let a waiting duplicate do the work when the first fails", async () => {
    const [started, go] = [deferred(), deferred()];
    const first = run(callOf("failing"), async () => {
      started.resolve();
      await go.promise;
      throw new Error("the first one fails");
    });
    const failed = rejection(first);
    await started.promise;
    const second = run(callOf("failing"), async () => reply("second"));
    go.resolve();
    expect((await failed).message).to.equal("the first one fails");
    expect(await second).to.deep.equal(reply("second"));
  });

  it("are forgotten after a day, not before", async () => {
    await run(callOf("old"));
    const now = Date.now();
    await deleteOldReplies(database.db, { now: new Date(now + REPLY_KEPT_MS - 60_000) });
    expect(await storedReply(database.db, callOf("old"))).to.not.equal(undefined);
    const removed = await deleteOldReplies(database.db, { now: new Date(now + REPLY_KEPT_MS + 60_000) });
    expect(removed).to.be.greaterThan(0);
    expect(await storedReply(database.db, callOf("old"))).to.equal(undefined);
  });
});
