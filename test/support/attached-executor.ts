// An executor made by hand: it says on its Attach stream what the test tells it to.

import type { ExecutionServiceClient } from "../../src/contract/postern/v1/execution.js";
import {
  type AttachRequest,
  type AttachResponse,
  ExecutionEvent,
  type ExecutionSpec,
  ExecutionState,
  Manifest,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, openDuplex } from "../../src/rpc/channel.js";

type Frame<Name extends string> = Extract<NonNullable<AttachResponse["frame"]>, { $case: Name }>["value"];

export function attachExecutor(client: ExecutionServiceClient, token: string) {
  const stream = openDuplex<AttachRequest, AttachResponse>(client.attach(bearer(token)));
  const incoming = stream.incoming[Symbol.asyncIterator]();
  const say = (frame: NonNullable<AttachRequest["frame"]>) => stream.send({ frame });

  return {
    say,
    end: () => stream.end(),
    cut: () => stream.cancel(),

    hello: (
      spec: ExecutionSpec,
      changes: { executorId?: string; planDigest?: string; protocolVersion?: number } = {},
    ) =>
      say({
        $case: "hello",
        value: {
          protocolVersion: 1,
          executionId: spec.executionId,
          attempt: spec.attempt,
          executorId: "test-1",
          software: "test",
          planDigest: spec.planDigest,
          sandboxLayers: [],
          languages: [],
          ...changes,
        },
      }),

    events: (...events: ExecutionEvent[]) => say({ $case: "events", value: { events } }),

    complete: (spec: ExecutionSpec, manifest: Partial<Manifest> = {}) =>
      say({
        $case: "complete",
        value: {
          manifest: Manifest.fromPartial({
            executionId: spec.executionId,
            attempt: spec.attempt,
            state: ExecutionState.EXECUTION_STATE_COMPLETED,
            ...manifest,
          }),
        },
      }),

    /** The next frame of one kind; others before it are passed over. Rejects with the stream's error. */
    async next<Name extends NonNullable<AttachResponse["frame"]>["$case"]>(name: Name): Promise<Frame<Name>> {
      for (let next = await incoming.next(); !next.done; next = await incoming.next()) {
        const { frame } = next.value;
        if (frame?.$case === name) return frame.value as Frame<Name>;
      }
      throw new Error(`The stream ended without ${name}.`);
    },

    /** Resolves when the server ends the stream well; rejects with its error. */
    async ended(): Promise<void> {
      for (let next = await incoming.next(); !next.done; next = await incoming.next());
    },
  };
}

/** The event that says RUNNING. */
export const running = (sequence: bigint): ExecutionEvent =>
  event(sequence, {
    $case: "executionState",
    value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "" },
  });

/** A console line. */
export const line = (sequence: bigint, text: string): ExecutionEvent =>
  event(sequence, { $case: "consoleMessage", value: { operatorId: "heavy", worker: 0, level: 1, text } });

export const event = (sequence: bigint, kind: NonNullable<ExecutionEvent["kind"]>): ExecutionEvent =>
  ExecutionEvent.fromPartial({ sequence, occurredAt: new Date(), kind });
