// How far an executor may run ahead of what is stored: enough to keep the database busy, little enough that what is in
// memory stays bounded and nobody waits long behind others. Pure; the server measures and asks.

/** What the committer of a replica measures. */
export interface CommitLoad {
  /** Attached streams. */
  streams: number;
  /** Events received and not yet stored, of all streams. */
  queuedEvents: number;
  /** Their bytes. */
  queuedBytes: number;
  /** Events stored per millisecond of committing, smoothed; 0 before the first commit. */
  eventsPerMs: number;
}

/** Work of so many milliseconds is on its way when every stream uses its credit. */
const AHEAD_MS = 250;
/** A stream can always send this many, or batches would be cut up. */
const LEAST = 256;
const MOST = 16_384;
/** What a replica holds at most; from half of it on the credit shrinks. */
export const QUEUE_LIMIT = { events: 400_000, bytes: 96 * 1024 * 1024 };
/** Until there is a measurement. */
const FIRST_EVENTS_PER_MS = 50;

/** Events a stream may send beyond its last stored one; 0 pauses it. */
export function creditWindow({ streams, queuedEvents, queuedBytes, eventsPerMs }: CommitLoad): number {
  const fill = Math.max(queuedEvents / QUEUE_LIMIT.events, queuedBytes / QUEUE_LIMIT.bytes);
  if (fill >= 1) return 0;
  const share = ((eventsPerMs || FIRST_EVENTS_PER_MS) * AHEAD_MS) / Math.max(1, streams);
  const window = Math.min(MOST, Math.max(LEAST, Math.floor(share)));
  return fill <= 0.5 ? window : Math.ceil(window * (1 - fill) * 2);
}
