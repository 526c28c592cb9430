// The judgement: what was said, what is stored and what every watcher saw, held against each other. Pure, so that it can
// itself be tested.
//
// C1  missing: an event of the attempt that completed, or an acknowledged one of an attempt that was lost, that is not
//     stored; an acknowledged end that is none; a stored event that a watcher did not see.
// C2  duplicated: an event stored, or shown to a watcher, more than once.
// C3  out of order: numbers with holes, sequences of an attempt that do not ascend one by one, an attempt that speaks
//     after the next one began or after the end, an event that is not what was said, a watcher's order that is not the
//     log's.
import type { Journal } from "./journal.js";
import type { SaidEvent } from "./said-event.js";

/** One row of the log. `n` is 0 for events of the server. */
export interface StoredEvent extends SaidEvent {
  number: number;
  attempt: number;
  sequence: number;
}

export interface WatchedLog {
  name: string;
  /** Number after which this watcher began. */
  after: number;
  events: Omit<StoredEvent, "n">[];
}

export interface ExecutionRecord {
  executionId: string;
  state: string;
  /** The execution's row. */
  attempt: number;
  lastEventNumber: number;
  stored: StoredEvent[];
  journals: Journal[];
  /** Highest acknowledged sequence by attempt. */
  acknowledged: ReadonlyMap<number, bigint>;
  /** True when a server confirmed the end. */
  endConfirmed: boolean;
  watched: WatchedLog[];
}

export interface Verdict {
  sent: number;
  stored: number;
  watched: number;
  missing: number;
  duplicated: number;
  outOfOrder: number;
  ended: boolean;
  /** The first findings, in words. */
  findings: string[];
}

const TERMINAL = ["COMPLETED", "FAILED", "KILLED"];
const FINDINGS = 20;

export function judge(record: ExecutionRecord): Verdict {
  const verdict: Verdict = {
    sent: record.journals.reduce((sum, { events }) => sum + events.length, 0),
    stored: record.stored.filter(({ sequence }) => sequence > 0).length,
    watched: record.watched.reduce((sum, { events }) => sum + events.length, 0),
    missing: 0,
    duplicated: 0,
    outOfOrder: 0,
    ended: TERMINAL.includes(record.state),
    findings: [],
  };
  const find = (kind: "missing" | "duplicated" | "outOfOrder", words: string, count = 1) => {
    verdict[kind] += count;
    if (verdict.findings.length < FINDINGS) verdict.findings.push(`${kind}: ${words}`);
  };
  judgeLog(record, find);
  judgeContent(record, find);
  judgePromises(record, find);
  for (const log of record.watched) judgeWatcher(record, log, find);
  return verdict;
}

type Find = (kind: "missing" | "duplicated" | "outOfOrder", words: string, count?: number) => void;

/** Numbers, attempts and sequences of the log by themselves. */
function judgeLog({ stored, lastEventNumber, state }: ExecutionRecord, find: Find): void {
  const lastSequence = new Map<number, number>();
  let attempt = 0;
  stored.forEach((event, i) => {
    if (event.number !== i + 1) find("outOfOrder", `number ${event.number} stands at position ${i + 1}`);
    if (event.attempt < attempt)
      find("outOfOrder", `attempt ${event.attempt} speaks at ${event.number}, after attempt ${attempt} began`);
    attempt = Math.max(attempt, event.attempt);
    if (event.sequence === 0) return;
    const expected = (lastSequence.get(event.attempt) ?? 0) + 1;
    if (event.sequence !== expected)
      find("outOfOrder", `sequence ${event.sequence} of attempt ${event.attempt} stands where ${expected} belongs`);
    lastSequence.set(event.attempt, event.sequence);
  });
  if (stored.length !== lastEventNumber)
    find("outOfOrder", `the row counts ${lastEventNumber} events, the log has ${stored.length}`);
  if (TERMINAL.includes(state) && (stored.at(-1)?.sequence ?? 0) > 0)
    find("outOfOrder", "an executor speaks after the end");
}

/** Each stored event is one that was said, and is stored once. */
function judgeContent({ stored, journals }: ExecutionRecord, find: Find): void {
  const seen = new Set<string>();
  for (const { attempt, n, number, sequence, checksum } of stored) {
    if (sequence === 0) continue;
    const said = journals.filter(({ begun }) => begun.attempt === attempt).map(({ events }) => events[n - 1]);
    if (!said.some((event) => event?.checksum === checksum)) {
      find("outOfOrder", `number ${number} holds what attempt ${attempt} never said`);
      continue;
    }
    const key = `${attempt}/${n}`;
    if (seen.has(key)) find("duplicated", `event ${n} of attempt ${attempt} is stored again at ${number}`);
    seen.add(key);
  }
}

/** What was acknowledged, and all of the attempt that completed, is stored. */
function judgePromises(record: ExecutionRecord, find: Find): void {
  const { stored, journals, acknowledged, state, endConfirmed } = record;
  const storedOf = (attempt: number) => new Set(stored.filter((e) => e.attempt === attempt).map(({ n }) => n));
  for (const [attempt, sequence] of acknowledged) {
    const have = storedOf(attempt);
    have.delete(0);
    const lacking = Number(sequence) - have.size;
    if (lacking > 0) find("missing", `${lacking} of ${sequence} acknowledged events of attempt ${attempt}`, lacking);
  }
  if (endConfirmed && !TERMINAL.includes(state)) find("missing", "the end was confirmed, but is not stored");
  if (state !== "COMPLETED") return;
  const completed = journals.filter(({ begun, end }) => begun.attempt === record.attempt && end?.kind === "finished");
  if (completed.length === 0) find("outOfOrder", `attempt ${record.attempt} is complete, but no executor finished it`);
  const have = storedOf(record.attempt);
  for (const { events } of completed.slice(0, 1)) {
    const lacking = events.filter(({ n }) => !have.has(n));
    const acked = Number(acknowledged.get(record.attempt) ?? 0n);
    // Those that were acknowledged as well have been counted.
    const counted = Math.max(0, acked - (have.size - (have.has(0) ? 1 : 0)));
    const more = lacking.length - Math.min(counted, lacking.length);
    if (more > 0) find("missing", `${more} events of the completed attempt, the first is ${lacking[0]!.n}`, more);
  }
}

/** A watcher saw the log from where it began, in its order, each event once. */
function judgeWatcher({ stored, state }: ExecutionRecord, { name, after, events }: WatchedLog, find: Find): void {
  const seen = new Set<number>();
  let last = after;
  for (const { number, attempt, sequence, checksum } of events) {
    if (seen.has(number)) find("duplicated", `${name} was shown number ${number} twice`);
    else if (number <= last) find("outOfOrder", `${name} was shown number ${number} after ${last}`);
    seen.add(number);
    last = Math.max(last, number);
    const row = stored[number - 1];
    if (!row) find("outOfOrder", `${name} was shown number ${number}, which is not stored`);
    else if (row.attempt !== attempt || row.sequence !== sequence || row.checksum !== checksum)
      find("outOfOrder", `${name} was shown something else at number ${number} than is stored`);
  }
  if (!TERMINAL.includes(state)) return;
  const unseen = stored.filter(({ number }) => number > after && !seen.has(number));
  if (unseen.length > 0)
    find("missing", `${name} was not shown ${unseen.length} events, the first is ${unseen[0]!.number}`, unseen.length);
}
