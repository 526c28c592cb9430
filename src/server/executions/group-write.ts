// Writing one group of the group commit (event-committer.ts) and telling how each stream came out of it.
//
// W1  Most groups are one statement, which stores all or nothing: it expects every execution as its last commit here left it.
//     When one is not (somebody else wrote, or took over), the group goes the careful way of W2.
// W2  The transaction locks the executions, sorts out whom fence, state or sequence refuse, and advances the others by one
//     conditional UPDATE with all of these in its WHERE clause again (S3). Who is refused drops out alone. An execution
//     somebody else has locked is skipped.
// W3  Events come as parameters, not by COPY: a replica that freezes in the midst of a COPY would keep its row locks, because
//     no timeout of Postgres ends a backend that waits for COPY's data; one that waits for a statement is ended by its
//     patience (decision 6).
// W4  What ports say to the cache follows in the same transaction, after their rows. An offer that is not the execution's to
//     make is written down in the audit log and stores no entry; the run goes on.
import { AppError, illegalTransition, notFound, staleLease } from "../../core/app-error.js";
import { NEVER_RESERVED, NOT_FOUND_HERE } from "../cache/refused-offer.js";
import type { Queryable } from "../database/database.js";
import { LOCK_NOT_HAD, sqlState } from "../database/database-error.js";
import type { WriterConnection } from "../database/writer-connection.js";
import {
  auditRefusedOffers,
  commitOffers,
  type PortOffer,
  type RefusedOffer,
  registerReusedPorts,
} from "../repositories/cache-commits.js";
import type { CacheKey } from "../repositories/cache-reservations.js";
import type { ReusedPort } from "../repositories/ports.js";
import {
  type Append,
  type AppendedEvent,
  appendToStreams,
  type Effects,
  existingExecutions,
  HEAD_CONTRADICTED,
  type LockedStream,
  lockStreams,
} from "../repositories/stream-writes.js";
import type { ReportedEvent } from "./event-batch.js";
import type { Slice } from "./stream-writer.js";

/** What a commit added to one execution's log. */
export interface Committed {
  executionId: string;
  attempt: number;
  /** Log position and sequence number of the first event, and log position of the last. */
  firstNumber: bigint;
  firstSequence: bigint;
  lastNumber: bigint;
  events: AppendedEvent[];
  /** What the cache has since. */
  cacheKeys: CacheKey[];
}

/** How a slice came out of its transaction. */
export type Outcome =
  | { kind: "committed"; logged: Committed | undefined }
  /** The database is ahead of us: a commit in doubt had happened. */
  | { kind: "applied"; lastSequence: bigint }
  | { kind: "locked" }
  | { kind: "refused"; error: AppError };

/** Writes a group in one transaction; the outcomes are in the order of the slices. */
export async function writeGroup(connection: WriterConnection, group: Slice[], now: () => number): Promise<Outcome[]> {
  return (await writeAsExpected(connection, group, now)) ?? writeWithCare(connection, group, now);
}

/**
 * The group in one statement (and those of W4), if every execution is as its last commit here left it and nobody else holds it; undefined
 * when one is not, and then nothing is stored.
 */
async function writeAsExpected(
  connection: WriterConnection,
  group: Slice[],
  now: () => number,
): Promise<Outcome[] | undefined> {
  const outcomes: Outcome[] = [];
  for (const slice of group) {
    const { lastNumber } = slice.writer;
    if (lastNumber === undefined) return undefined;
    outcomes.push(committed(slice, withTimes(slice.events, now), lastNumber));
  }
  try {
    const write = (db: Queryable) => store(db, group, outcomes);
    await (group.some(concernsCache) ? connection.transaction(write) : connection.statement(write));
    return outcomes;
  } catch (error) {
    if (UNEXPECTED.has(sqlState(error) ?? "")) return undefined;
    throw error;
  }
}

const concernsCache = ({ effects }: Slice): boolean =>
  effects !== undefined && (effects.offers.size > 0 || effects.reused.size > 0);

/** Whether it writes rows that others write too. */
export const concernsPorts = (slice: Slice): boolean => concernsCache(slice) || (slice.effects?.ports.size ?? 0) > 0;

/** Somebody else wrote, or is writing; the fence does not hold; or both streams of one execution are in the group. */
const UNEXPECTED = new Set([HEAD_CONTRADICTED, LOCK_NOT_HAD]);

/** C1, C3 */
async function writeWithCare(connection: WriterConnection, group: Slice[], now: () => number): Promise<Outcome[]> {
  const ids = [...new Set(group.map(({ step }) => step.executionId))];
  return connection.transaction(async (tx) => {
    const locked = new Map((await lockStreams(tx, ids)).map((row) => [row.executionId, row]));
    const absent = ids.filter((id) => !locked.has(id));
    const existing = new Set(absent.length > 0 ? await existingExecutions(tx, absent) : []);
    const verdicts = group.map((slice): Outcome => {
      const { executionId } = slice.step;
      const row = locked.get(executionId);
      if (row) return refusalBy(row, slice) ?? committed(slice, withTimes(slice.events, now), row.lastEventNumber);
      if (existing.has(executionId)) return { kind: "locked" };
      return { kind: "refused", error: notFound(`execution "${executionId}"`) };
    });
    await store(tx, group, verdicts);
    return verdicts;
  });
}

/** Why a stream's step may not be made on this row, which is locked; undefined when it may (S3). */
function refusalBy(row: LockedStream, { step }: Slice): Outcome | undefined {
  const refused = (error: AppError): Outcome => ({ kind: "refused", error });
  if (row.epoch !== step.epoch || row.attempt !== step.attempt) return refused(staleLease(step.epoch, row.epoch));
  if (row.attachment !== step.attachment) return refused(superseded());
  const last = step.first + BigInt(step.count) - 1n;
  if (row.lastSequence >= step.first && row.lastSequence <= last)
    return { kind: "applied", lastSequence: row.lastSequence };
  if (!step.sources.includes(row.state)) return refused(illegalTransition(row.state, step.state ?? "reported on"));
  if (step.count === 0 || row.lastSequence === step.first - 1n) return undefined;
  return refused(
    new AppError(
      "precondition",
      "UNEXPECTED_SEQUENCE",
      `Events from ${step.first} do not continue the ${row.lastSequence} that are stored; reconnect.`,
      { detail: { kind: "UnexpectedSequence", expected: row.lastSequence + 1n, received: step.first } },
    ),
  );
}

/** Events whose sender did not say when they happened get the present. */
function withTimes(events: ReportedEvent[], now: () => number): AppendedEvent[] {
  for (const event of events) event.occurredAtMicros ??= now() * 1_000;
  return events as AppendedEvent[];
}

function committed({ step }: Slice, events: AppendedEvent[], lastEventNumber: bigint): Outcome {
  if (events.length === 0) return { kind: "committed", logged: undefined };
  const { executionId, attempt, first: firstSequence } = step;
  const firstNumber = lastEventNumber + 1n;
  const lastNumber = lastEventNumber + BigInt(events.length);
  const logged = { executionId, attempt, firstNumber, lastNumber, firstSequence, events, cacheKeys: [] };
  return { kind: "committed", logged };
}

/** Stores what the verdicts allow. */
async function store(db: Queryable, group: Slice[], verdicts: Outcome[]): Promise<void> {
  const appends: Append[] = [];
  const effects: Effects = { operatorStates: [], statistics: [], ports: [] };
  for (const [i, verdict] of verdicts.entries()) {
    if (verdict.kind !== "committed") continue;
    const { step, effects: more } = group[i]!;
    appends.push({ step, events: verdict.logged?.events ?? [], firstNumber: verdict.logged?.firstNumber ?? 0n });
    if (!more) continue;
    effects.operatorStates.push(...more.operatorStates.values());
    effects.statistics.push(...more.statistics.values());
    effects.ports.push(...more.ports.values());
  }
  if (appends.length === 0) return;
  await appendToStreams(db, appends, effects);
  await tellCache(db, group, verdicts);
}

/** W4 */
async function tellCache(db: Queryable, group: Slice[], verdicts: Outcome[]): Promise<void> {
  const reused: ReusedPort[] = [];
  const offers: (PortOffer & { logged: Committed; uri: string })[] = [];
  for (const [i, verdict] of verdicts.entries()) {
    const { effects, step } = group[i]!;
    if (verdict.kind !== "committed" || !verdict.logged || !effects) continue;
    const { logged } = verdict;
    reused.push(...effects.reused.values());
    for (const [id, offer] of effects.offers)
      offers.push({ ...offer, epoch: step.epoch, logged, uri: effects.ports.get(id)?.uri ?? "" });
  }
  const refused: RefusedOffer[] = [];
  if (reused.length > 0) {
    const registered = new Set(
      (await registerReusedPorts(db, reused)).map(({ executionId, globalPortId }) => executionId + globalPortId),
    );
    for (const port of reused)
      if (!registered.has(port.executionId + port.globalPortId)) refused.push(asRefused(port, NOT_FOUND_HERE));
  }
  if (offers.length > 0) {
    const outcomes = await commitOffers(db, offers);
    for (const [i, { outcome, projectId, subdagHash }] of outcomes.entries()) {
      const offer = offers[i]!;
      if (outcome === "COMMITTED") offer.logged.cacheKeys.push({ projectId, subdagHash });
      if (outcome === "REFUSED") refused.push(asRefused(offer, NEVER_RESERVED));
    }
  }
  if (refused.length > 0) await auditRefusedOffers(db, refused);
}

const asRefused = (
  { executionId, globalPortId, subdagHash, uri }: Omit<RefusedOffer, "why">,
  why: string,
): RefusedOffer => ({ executionId, globalPortId, subdagHash, uri, why });

export const superseded = (): AppError =>
  new AppError("unavailable", "STREAM_SUPERSEDED", "This executor opened a newer stream for the attempt; go on there.");
