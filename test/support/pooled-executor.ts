// A pooled executor made by hand: it says on its Serve stream what the test tells it to, and heartbeats by itself.
import type { ServeRequest, ServeResponse } from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary, openDuplex } from "../../src/rpc/channel.js";
import { PROJECT, type TestServer, UNIT } from "./test-server.js";

export interface PooledExecutor extends Awaited<ReturnType<typeof connectPooledExecutor>> {}

type Frame<Name extends string> = Extract<NonNullable<ServeResponse["frame"]>, { $case: Name }>["value"];

/** Connects to a replica and says hello. */
export async function connectPooledExecutor(
  server: TestServer,
  {
    executorId = "pool-1",
    slots = 1,
    /** 0 for an executor that never says it is alive. */
    heartbeatMs = 100,
    labels = {},
  }: { executorId?: string; slots?: number; heartbeatMs?: number; labels?: Record<string, string> } = {},
) {
  const unit = { projectId: PROJECT, computingUnitId: UNIT };
  const { token } = await callUnary(server.client.access, "createServeToken", unit, { token: server.owner });
  const stream = openDuplex<ServeRequest, ServeResponse>(server.client.executions.serve(bearer(token)));
  const incoming = stream.incoming[Symbol.asyncIterator]();
  const say = (frame: NonNullable<ServeRequest["frame"]>) => stream.send({ frame });
  const hello = { protocolVersion: 1, executorId, software: "test", slots, labels, sandboxLayers: [], languages: [] };
  await say({ $case: "hello", value: hello });
  const beat = () => {
    // A stream that has ended is what the test reads from `next`.
    say({ $case: "heartbeat", value: { sentAt: new Date() } }).catch(() => clearInterval(heartbeats));
  };
  const heartbeats = heartbeatMs > 0 ? setInterval(beat, heartbeatMs) : undefined;

  return {
    say,
    /** Answers an assignment; why it is refused, or nothing. */
    answer: (executionId: string, refused = "") => say({ $case: "assignmentAck", value: { executionId, refused } }),
    freeSlots: (freeSlots: number) => say({ $case: "slotsChanged", value: { freeSlots } }),
    /** Goes away without a word. */
    cut(): void {
      clearInterval(heartbeats);
      stream.cancel();
    },
    /** The next frame of one kind; others before it are passed over. Rejects with the stream's error. */
    async next<Name extends NonNullable<ServeResponse["frame"]>["$case"]>(name: Name): Promise<Frame<Name>> {
      for (let next = await incoming.next(); !next.done; next = await incoming.next()) {
        const { frame } = next.value;
        if (frame?.$case === name) return frame.value as Frame<Name>;
      }
      throw new Error(`The stream ended without ${name}.`);
    },
  };
}
