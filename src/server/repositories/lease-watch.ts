// Which leases are lost. Every time here is the database's, so replicas need not agree on one.
//
// L1  A lease that ran out is lost only if some replica has been watching leases without a break for as long as a lease
//     lasts: while nobody watched, nobody could extend one either. An outage of the servers or of the database, however
//     long, so gives every executor a whole lease to come back.
// L2  The same holds for an assignment and the time an executor has to take it up.
// L3  Whoever looks says so first; one that froze between the two finds nothing lost.
import { LIVE_STATES } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";
import type { Fence } from "./execution-leases.js";
import type { ExecutionRow } from "./executions.js";

/** That execution `e` is live: literally the predicate of the index execution_live, which a parameter would not match. */
export const IS_LIVE = `e.state in (${LIVE_STATES.map((state) => `'${state}'`).join(", ")})`;

/**
 * Notes that leases are being watched now; the watch began anew when the last note is older than `pauseMs`. A note that
 * another replica is making at this moment is as good.
 */
export async function noteLeaseWatch(db: Queryable, { pauseMs }: { pauseMs: number }): Promise<void> {
  await db.query(
    `with free as materialized (select singleton from lease_watch for no key update skip locked)
     update lease_watch w
        set watching_since = case
              when w.watched_at < clock_timestamp() - cast(:pauseMs as double precision) * interval '1 millisecond'
                then clock_timestamp() else w.watching_since end,
            watched_at = greatest(w.watched_at, clock_timestamp())
       from free where w.singleton = free.singleton`,
    { pauseMs },
  );
}

/** Executions whose lease is lost (L1, L2), locked; other replicas skip them. */
export async function lockLostExecutions(
  db: Queryable,
  {
    leaseMs,
    attachWithinMs,
    pauseMs,
    limit,
  }: { leaseMs: number; attachWithinMs: number; pauseMs: number; limit: number },
): Promise<ExecutionRow[]> {
  return db.query<ExecutionRow>(
    `select e.* from execution e, lease_watch w
      where ${IS_LIVE} and e.lease_expires_at < now()
        and w.watched_at > now() - cast(:pauseMs as double precision) * interval '1 millisecond'
        and w.watching_since <= now() - interval '1 millisecond' * cast(
              case when e.queued and e.executor_id = '' then :attachWithinMs else :leaseMs end as double precision)
      order by e.lease_expires_at limit :limit for no key update of e skip locked`,
    { leaseMs, attachWithinMs, pauseMs, limit },
  );
}

/** An assignment that no executor has taken up yet, locked, if the fence still holds. */
export async function lockUnattached(db: Queryable, fence: Fence): Promise<ExecutionRow | undefined> {
  const { executionId, attempt, epoch } = fence;
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = 'PREPARED' and executor_id = ''
        for no key update`,
    { executionId, attempt, epoch },
  );
  return row;
}
