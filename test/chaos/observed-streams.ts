// What the servers have promised, as the proxies saw it go by: the last acknowledged event of each attempt, the ends that
// were confirmed, and where each attempt is attached; and from that, how long an attempt was without a server after its
// replica was killed.
import type { AttachResponse } from "../../src/contract/postern/v1/execution.js";
import type { TapListener, TappedStream } from "./wire-tap.js";

export interface Recovery {
  executionId: string;
  attempt: number;
  /** From the kill to the next Welcome. */
  ms: number;
  /** When the replica was killed, in milliseconds since the epoch. */
  killedAt: number;
}

export interface ObservedStreams {
  /** Listens to the connections of one executor with one replica. */
  listenerOf(replica: number): TapListener;
  /** Highest acknowledged sequence by attempt. */
  acknowledged(executionId: string): ReadonlyMap<number, bigint>;
  /** True when a CompleteAck was sent. */
  endConfirmed(executionId: string): boolean;
  /** On which replica a running attempt of the execution was last taken in. */
  replicaOf(executionId: string): number | undefined;
  /** How many attempts are attached to a replica now, of one executor or of all. */
  attachedTo(replica: number, executorId?: string): number;
  /** Call it when a replica is killed; what is attached to it has to come back. */
  replicaKilled(replica: number): void;
  /** Call it when an executor is killed or frozen: it owes no recovery. */
  executorDisturbed(executorId: string): void;
  /** Executions with attempts that have not come back yet. */
  awaited(): string[];
  /** What is over needs not come back. */
  forget(executionIds: string[]): void;
  /** Calls `act` as a Welcome goes by, before the executor has it, until the returned function is called. */
  onWelcome(act: (stream: TappedStream, replica: number, lastSequence: bigint) => void): () => void;
  /** Calls `act` whenever an executor sends something after its Hello, until the returned function is called. */
  onSpeech(act: (stream: TappedStream, replica: number) => void): () => void;
  recoveries: Recovery[];
}

interface Observed {
  acknowledged: Map<number, bigint>;
  ended: boolean;
  replica?: number;
}

export function observeStreams(now: () => number = Date.now): ObservedStreams {
  const executions = new Map<string, Observed>();
  const attached = new Map<TappedStream, number>();
  const waiting = new Map<string, { stream: TappedStream; killedAt: number }>();
  const recoveries: Recovery[] = [];
  const welcomeActs = new Set<(stream: TappedStream, replica: number, lastSequence: bigint) => void>();
  const speechActs = new Set<(stream: TappedStream, replica: number) => void>();

  const observed = (executionId: string): Observed => {
    const known = executions.get(executionId) ?? { acknowledged: new Map(), ended: false };
    executions.set(executionId, known);
    return known;
  };
  const keyOf = ({ executionId, attempt, executorId }: TappedStream) => `${executionId}/${attempt}/${executorId}`;

  function welcomed(stream: TappedStream, replica: number): void {
    attached.set(stream, replica);
    observed(stream.executionId).replica = replica;
    const gone = waiting.get(keyOf(stream));
    if (!gone) return;
    waiting.delete(keyOf(stream));
    const { executionId, attempt } = stream;
    recoveries.push({ executionId, attempt, killedAt: gone.killedAt, ms: now() - gone.killedAt });
  }

  function said(stream: TappedStream, replica: number, frame: NonNullable<AttachResponse["frame"]>): void {
    const { acknowledged } = observed(stream.executionId);
    if (frame.$case === "welcome") {
      welcomed(stream, replica);
      for (const act of [...welcomeActs]) act(stream, replica, frame.value.lastSequence);
    }
    if (frame.$case === "ack" && frame.value.sequence > (acknowledged.get(stream.attempt) ?? 0n))
      acknowledged.set(stream.attempt, frame.value.sequence);
    if (frame.$case === "completeAck") observed(stream.executionId).ended = true;
  }

  return {
    listenerOf: (replica) => ({
      said: (stream, frame) => said(stream, replica, frame),
      spoke: (stream) => {
        for (const act of [...speechActs]) act(stream, replica);
      },
      ended: (stream) => void attached.delete(stream),
    }),
    acknowledged: (executionId) => observed(executionId).acknowledged,
    endConfirmed: (executionId) => observed(executionId).ended,
    replicaOf: (executionId) => executions.get(executionId)?.replica,
    attachedTo: (replica, executorId) =>
      [...attached].filter(([stream, on]) => on === replica && (executorId ?? stream.executorId) === stream.executorId)
        .length,
    replicaKilled: (replica) => {
      const killedAt = now();
      for (const [stream, on] of attached) if (on === replica) waiting.set(keyOf(stream), { stream, killedAt });
    },
    executorDisturbed: (executorId) => {
      for (const [key, { stream }] of waiting) if (stream.executorId === executorId) waiting.delete(key);
    },
    awaited: () => [...waiting.values()].map(({ stream }) => stream.executionId),
    forget: (executionIds) => {
      for (const [key, { stream }] of waiting) if (executionIds.includes(stream.executionId)) waiting.delete(key);
    },
    onWelcome: (act) => {
      welcomeActs.add(act);
      return () => void welcomeActs.delete(act);
    },
    onSpeech: (act) => {
      speechActs.add(act);
      return () => void speechActs.delete(act);
    },
    recoveries,
  };
}
