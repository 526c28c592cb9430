// Stored replies by request id: everything that can happen to those rows, one statement each.
import type { Queryable } from "../database/database.js";

/** Whose request it is; the table's key. */
export interface RequestKey {
  subject: string;
  projectId: string;
  requestId: string;
}

export interface StoredReply {
  method: string;
  requestDigest: string;
  reply: Buffer;
}

/**
 * Takes the request id; false when it is taken. While another transaction that took it is under way, this waits for its
 * end: a commit means taken, a rollback means free.
 */
export async function claimRequestId(
  tx: Queryable,
  request: RequestKey & { method: string; requestDigest: string },
): Promise<boolean> {
  const rows = await tx.query(
    `insert into request_reply (subject, project_id, request_id, method, request_digest, reply)
     values (:subject, :projectId, :requestId, :method, :requestDigest, '')
     on conflict (subject, project_id, request_id) do nothing returning request_id`,
    { ...request },
  );
  return rows.length > 0;
}

/** Stores the reply of a request id claimed in the same transaction. */
export async function storeReply(tx: Queryable, reply: RequestKey & { reply: Buffer }): Promise<void> {
  await tx.query(
    `update request_reply set reply = :reply
     where subject = :subject and project_id = :projectId and request_id = :requestId`,
    { ...reply },
  );
}

/** The committed reply of a request id; undefined when there is none. */
export async function findReply(db: Queryable, request: RequestKey): Promise<StoredReply | undefined> {
  const [row] = await db.query<StoredReply>(
    `select method, request_digest, reply from request_reply
     where subject = :subject and project_id = :projectId and request_id = :requestId`,
    { ...request },
  );
  return row;
}

/** Removes at most `limit` replies stored before `before`; returns how many went. */
export async function deleteRepliesBefore(
  db: Queryable,
  { before, limit }: { before: Date; limit: number },
): Promise<number> {
  const rows = await db.query(
    `delete from request_reply where ctid in (
       select ctid from request_reply where created_at < :before order by created_at limit :limit for update skip locked)
     returning request_id`,
    { before, limit },
  );
  return rows.length;
}
