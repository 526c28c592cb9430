// Stands in for src/server/executions/event-committer.js in the sabotage `max-ack`: groups go through two connections side
// by side, what is lost is offered again, and a stream is told of the highest number that either of them has committed.
// As long as no commit is lost for good that is even true, which is why kill -9 alone does not show it.
import { AppError } from "../../core/app-error.js";
import { createWriterConnection, InDoubt } from "../database/writer-connection.js";
import { StreamWriter } from "./stream-writer.js";

const GROUP_EVENTS = 8_192;
const AGAIN_MS = 50;

const ADVANCE = `
  update execution
     set last_sequence = greatest(last_sequence, :last), last_event_number = greatest(last_event_number, :number),
         state = coalesce(:state, state),
         started_at = case when :started then coalesce(started_at, now()) else started_at end,
         lease_expires_at = now() + cast(:leaseMs as double precision) * interval '1 millisecond'
   where id = :executionId and attempt = :attempt and epoch = :epoch and attachment = :attachment
     and state = any(cast(:sources as text[]))
  returning id`;

const APPEND = `
  insert into execution_event (execution_id, number, attempt, sequence, occurred_at, kind, body)
  select cast(:executionId as uuid), r.number, cast(:attempt as integer), r.sequence,
         timestamptz 'epoch' + r.at * interval '1 microsecond', r.kind, r.body
    from unnest(cast(:numbers as bigint[]), cast(:sequences as bigint[]), cast(:times as bigint[]),
                cast(:kinds as text[]), cast(:bodies as bytea[])) as r (number, sequence, at, kind, body)`;

export const superseded = () =>
  new AppError("unavailable", "STREAM_SUPERSEDED", "This executor opened a newer stream for the attempt; go on there.");

export function createEventCommitter({ connect, onCommitted, now }) {
  const waiting = new Set();
  const queued = { events: 0, bytes: 0 };
  let streams = 0;
  let closed = false;
  const lanes = [1, 2].map(() => ({
    connection: createWriterConnection({ connect, patienceMs: 60_000 }),
    busy: false,
  }));

  function pump() {
    for (const lane of lanes) if (!lane.busy && waiting.size > 0 && !closed) void work(lane);
  }

  async function work(lane) {
    lane.busy = true;
    await new Promise((resolve) => setImmediate(resolve));
    const slices = [];
    for (const writer of waiting) {
      waiting.delete(writer);
      if (!writer.hasWork) continue;
      const slice = writer.slice({ events: GROUP_EVENTS, bytes: 8 * 1024 * 1024 });
      // The next slice goes on after this one, on the other connection.
      writer.committed(slice);
      if (writer.hasWork) waiting.add(writer);
      slices.push(slice);
    }
    for (const slice of slices) await store(lane, slice);
    lane.busy = false;
    pump();
  }

  async function store(lane, slice) {
    const { writer, step, events } = slice;
    while (!closed) {
      try {
        const logged = await lane.connection.transaction((tx) => write(tx, slice));
        if (events.length > 0) writer.acknowledge(step.first + BigInt(events.length) - 1n);
        if (events.length > 0) onCommitted(logged);
        return;
      } catch (error) {
        if (!(error instanceof InDoubt)) return writer.refuse(superseded());
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  async function write(tx, { writer, step, events }) {
    const { executionId, attempt } = step;
    if (writer.offset === undefined) {
      const [row] = await tx.query("select last_event_number, last_sequence from execution where id = :executionId", {
        executionId,
      });
      writer.offset ??= row.lastEventNumber - row.lastSequence;
    }
    const last = step.first + BigInt(events.length) - 1n;
    const firstNumber = step.first + writer.offset;
    const number = last + writer.offset;
    const logged = { executionId, attempt, firstNumber, lastNumber: number, firstSequence: step.first, events };
    for (const event of events) event.occurredAtMicros ??= now() * 1_000;
    if (events.length > 0)
      await tx.query(APPEND, {
        executionId,
        attempt,
        numbers: events.map((_, i) => firstNumber + BigInt(i)),
        sequences: events.map((_, i) => step.first + BigInt(i)),
        times: events.map((event) => event.occurredAtMicros),
        kinds: events.map((event) => event.kind),
        bodies: events.map((event) => event.body),
      });
    const { epoch, attachment, state, started, leaseMs, sources } = step;
    const fence = { executionId, attempt, epoch, attachment };
    const head = { last, number, state, started, leaseMs, sources: [...sources] };
    const advanced = await tx.query(ADVANCE, { ...fence, ...head });
    if (advanced.length === 0) throw superseded();
    return logged;
  }

  return {
    open({ fence, leaseMs, lastSequence, listener }) {
      streams++;
      const onWork = (writer) => {
        waiting.add(writer);
        pump();
      };
      return new StreamWriter({ fence, leaseMs, lastSequence, listener, queued, onWork });
    },
    release(writer) {
      void writer.settled().then(() => {
        streams--;
        writer.end();
      });
    },
    load: () => ({ streams, queuedEvents: queued.events, queuedBytes: queued.bytes, eventsPerMs: 0 }),
    room: () => Promise.resolve(),
    async close() {
      closed = true;
      await Promise.all(lanes.map(({ connection }) => connection.close()));
    },
  };
}
