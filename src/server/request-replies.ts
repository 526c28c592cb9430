// Idempotency of unary calls that change something: the same request id and body get the stored reply.
//
// I1  A reply is stored in the transaction of the work it reports, so neither exists without the other.
// I2  Two calls with one id follow one another: the second waits for the first, then gets its reply (or, when the first
//     failed, does the work).
// I3  A reply is never stored for calls that mint tokens.
//
// Callers authorize before they come here: a reply is not handed to somebody who has lost access since.
import type { MessageFns } from "../contract/postern/v1/access.js";
import { AppError, invalid } from "../core/app-error.js";
import { digestOf } from "../core/canonical-json.js";
import type { Database, Queryable } from "./database/database.js";
import {
  claimRequestId,
  deleteRepliesBefore,
  findReply,
  type RequestKey,
  type StoredReply,
  storeReply,
} from "./repositories/request-replies.js";

/** One call as its idempotency sees it. An empty request id means: not idempotent. */
export interface ReplayableCall<Request, Reply> extends RequestKey {
  /** Name of the call, as in the proto: "PutWorkflow". */
  method: string;
  request: Request;
  requestType: Pick<MessageFns<Request>, "toJSON">;
  replyType: Pick<MessageFns<Reply>, "encode" | "decode">;
}

/** How long a reply is kept. */
export const REPLY_KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * Runs `work` in a transaction and stores its reply, or returns the reply stored before. `work` may run twice, so it
 * does nothing but statements. Refuses with REQUEST_ID_REUSED when the id was used with another body or call.
 */
export async function replayable<Request, Reply>(
  db: Database,
  call: ReplayableCall<Request, Reply>,
  work: (tx: Queryable) => Promise<Reply>,
): Promise<Reply> {
  return db.transaction((tx) => replayableWithin(tx, call, work));
}

/** As `replayable`, inside a transaction of the caller's. */
export async function replayableWithin<Request, Reply>(
  tx: Queryable,
  call: ReplayableCall<Request, Reply>,
  work: (tx: Queryable) => Promise<Reply>,
): Promise<Reply> {
  if (call.requestId === "") return work(tx);
  const key = keyOf(call);
  const requestDigest = digestOfRequest(call);
  while (!(await claimRequestId(tx, { ...key, method: call.method, requestDigest }))) {
    const stored = await findReply(tx, key);
    if (stored) return replyOf(call, requestDigest, stored);
    // The reply grew too old and was removed between the two statements: the id is free again.
  }
  const reply = await work(tx);
  await storeReply(tx, { ...key, reply: Buffer.from(call.replyType.encode(reply).finish()) });
  return reply;
}

/**
 * The reply stored before, or undefined; refuses as `replayable` does. For calls with long work outside the database,
 * which look here first and come to `replayable` with the outcome.
 */
export async function storedReply<Request, Reply>(
  db: Queryable,
  call: ReplayableCall<Request, Reply>,
): Promise<Reply | undefined> {
  if (call.requestId === "") return undefined;
  const stored = await findReply(db, keyOf(call));
  return stored && replyOf(call, digestOfRequest(call), stored);
}

/** Removes replies older than a day, at most `limit` a call; returns how many went. */
export const deleteOldReplies = (
  db: Queryable,
  { now, limit = 1000 }: { now: Date; limit?: number },
): Promise<number> => deleteRepliesBefore(db, { before: new Date(now.getTime() - REPLY_KEPT_MS), limit });

function keyOf({ subject, projectId, requestId }: RequestKey): RequestKey {
  if (requestId.length > 128 || !/^[\x21-\x7e]+$/.test(requestId))
    throw invalid(
      "The request id must be at most 128 printable ASCII characters without spaces; a UUID is a good one.",
    );
  return { subject, projectId, requestId };
}

// The JSON form, because maps may be written in any order and a repeated call is the same call nevertheless.
const digestOfRequest = <Request>(call: Pick<ReplayableCall<Request, unknown>, "request" | "requestType">): string =>
  digestOf(call.requestType.toJSON(call.request));

function replyOf<Reply>(
  call: Pick<ReplayableCall<unknown, Reply>, "method" | "requestId" | "replyType">,
  requestDigest: string,
  stored: StoredReply,
): Reply {
  if (stored.method === call.method && stored.requestDigest === requestDigest)
    return call.replyType.decode(stored.reply);
  throw new AppError(
    "conflict",
    "REQUEST_ID_REUSED",
    `Request id ${JSON.stringify(call.requestId)} was used before for something else; use a new id for every request.`,
  );
}
