// What a chaos executor says: small numbered events of several kinds, each of which carries its own number, so that it can
// be recognised wherever it turns up, whatever number the product has given it.
import { crc32 } from "node:zlib";
import {
  ExecutionEvent,
  type ExecutionSpec,
  ExecutionState,
  RunState,
} from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import type { SeededRandom } from "./seeded-random.js";

export type EventKind = NonNullable<ExecutionEvent["kind"]>;

/** One event as it was said: its number from 1 within the attempt, and a checksum of everything it says. */
export interface SaidEvent {
  n: number;
  checksum: number;
}

/** The n-th event of an attempt. The first says RUNNING. */
export function eventToSay(spec: ExecutionSpec, executorId: string, n: number, random: SeededRandom): EventKind {
  const plan = spec.plan!;
  if (n === 1 || random.chance(0.005)) {
    const state = ExecutionState.EXECUTION_STATE_RUNNING;
    return { $case: "executionState", value: { state, failure: undefined, comment: `${n}` } };
  }
  const operator = random.pick(plan.operators);
  if (random.chance(0.05)) {
    return {
      $case: "operatorStatistics",
      value: {
        operatorId: operator.operatorId,
        layer: operator.layer,
        state: RunState.RUN_STATE_RUNNING,
        inputRows: BigInt(random.between(0, 1_000_000)),
        outputRows: BigInt(n),
        outputBytes: 0n,
        busyMs: BigInt(n),
        progress: undefined,
        peakMemoryBytes: 0n,
        malformedRows: 0n,
      },
    };
  }
  const port = operator.outputs[0];
  if (port && random.chance(0.002)) {
    const uri = `${spec.resultPrefix}${operator.operatorId}-${n}.parquet`;
    return { $case: "portResult", value: PortResult.fromPartial({ key: port.key, uri, rowCount: BigInt(n) }) };
  }
  const padding = "x".repeat(random.chance(0.08) ? random.between(1_000, 7_000) : random.between(0, 80));
  const text = `${executorId} ${spec.attempt} ${n} ${padding}`;
  return { $case: "consoleMessage", value: { operatorId: operator.operatorId, worker: 0, level: 1, text } };
}

/** Reads the number back; 0 when the event is none of a chaos executor. */
export function numberSaid(kind: EventKind | undefined): number {
  switch (kind?.$case) {
    case "executionState":
      return Number(kind.value.comment) || 0;
    case "operatorStatistics":
      return Number(kind.value.busyMs);
    case "portResult":
      return Number(kind.value.rowCount);
    case "consoleMessage":
      return Number(kind.value.text.split(" ", 3)[2]) || 0;
    default:
      return 0;
  }
}

/** Of what an event says, without its numbers and time. */
export function checksumOf(kind: EventKind | undefined): number {
  return crc32(ExecutionEvent.encode({ number: 0n, attempt: 0, sequence: 0n, occurredAt: undefined, kind }).finish());
}
