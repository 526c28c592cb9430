// What every executor must do: without it, events are lost, invented, or reported by somebody who lost the right to.
import { isName } from "../core/ids.js";
import {
  attachedAgain,
  completed,
  HELD_CREDIT,
  longestSilence,
  requireHeartbeats,
  SMALL_WINDOW,
  STALE,
  someEvents,
  stopsForGood,
} from "./deeds.js";
import type { BatchFate } from "./fake-attach.js";
import { demand, type Scenario } from "./scenario.js";
import type { Stage } from "./stage.js";

const PROTOCOL_VERSION = 1;

/** The same fate for the second and the fifth batch: the fault hits also what was sent again. */
const twice = (fate: BatchFate) => () => ({
  creditWindow: SMALL_WINDOW,
  fateOf: (n: number) => (n === 2 || n === 5 ? fate : "apply"),
});

async function completedOnThreeStreams(stage: Stage): Promise<void> {
  await completed(stage);
  const { length } = stage.server.streams;
  demand(length === 3, () => `It took ${length} streams where two were cut: open one after each.`);
}

export const CORE_SCENARIOS: Scenario[] = [
  {
    name: "attach",
    promise: "says Hello with what its spec names, and waits for Welcome",
    level: "core",
    faults: () => ({ welcomeAfterMs: 300 }),
    async play(stage) {
      const { server, spec, until } = stage;
      await until("attach and say Hello", () => server.hellos.length > 0);
      const hello = server.hellos[0]!;
      const wanted = {
        protocolVersion: PROTOCOL_VERSION,
        executionId: spec.executionId,
        attempt: spec.attempt,
        planDigest: spec.planDigest,
      };
      for (const [field, value] of Object.entries(wanted))
        demand(
          hello[field as keyof typeof wanted] === value,
          () => `Hello has "${hello[field as keyof typeof wanted]}" as ${field}: it must be "${value}".`,
        );
      demand(
        isName(hello.executorId),
        () => `Hello has "${hello.executorId}" as executorId: use letters, digits, "_", "." and "-".`,
      );
      await completed(stage);
    },
  },
  {
    name: "order",
    promise: "numbers its events from 1 without holes, and completes with the last one's number",
    level: "core",
    faults: () => ({ creditWindow: SMALL_WINDOW }),
    play: async (stage) => void (await completed(stage)),
  },
  {
    name: "resume-unstored",
    promise: "sends again what was not stored when the stream broke, and loses nothing",
    level: "core",
    faults: twice("cut"),
    play: completedOnThreeStreams,
  },
  {
    name: "resume-stored",
    promise: "goes on after what was stored when the stream broke before the Ack, and doubles nothing",
    level: "core",
    faults: twice("store-and-cut"),
    play: completedOnThreeStreams,
  },
  {
    name: "nack",
    promise: "goes back to the number that Nack names",
    level: "core",
    faults: twice("nack"),
    async play(stage) {
      await completed(stage);
      const { length } = stage.server.streams;
      demand(length === 1, () => `It opened ${length} streams: Nack is no reason for a new one.`);
    },
  },
  {
    name: "credit",
    promise: "sends no event beyond the credit, and none at all while it is 0",
    level: "core",
    faults: () => ({ creditLimit: 0n, creditWindow: 3n }),
    async play(stage) {
      const { server, leaseMs } = stage;
      await attachedAgain(stage, 1);
      await stage.pause(leaseMs / 2);
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "heartbeat",
    promise: "sends a Heartbeat every third of the lease, also when it has nothing else to say",
    level: "core",
    faults: () => ({ creditLimit: 0n }),
    async play(stage) {
      const { server, leaseMs } = stage;
      await attachedAgain(stage, 1);
      const stream = server.streams.find(({ welcomedAt }) => welcomedAt !== undefined)!;
      await stage.pause(leaseMs * 2);
      requireHeartbeats(longestSilence(stream.heardAt, stream.welcomedAt!, performance.now()), leaseMs);
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "fenced",
    promise: "stops its work after STALE_LEASE in mid-stream, and does not come back",
    level: "core",
    faults: () => ({ creditLimit: HELD_CREDIT, creditWindow: SMALL_WINDOW }),
    async play(stage) {
      await someEvents(stage);
      stage.server.refuse(STALE);
      await stopsForGood(stage);
    },
  },
  {
    name: "fenced-return",
    promise: "stops its work when a reconnect is answered with STALE_LEASE",
    level: "core",
    faults: () => ({
      creditLimit: HELD_CREDIT,
      creditWindow: SMALL_WINDOW,
      onHello: (stream) => (stream > 1 ? STALE : undefined),
    }),
    async play(stage) {
      const { server, until } = stage;
      await someEvents(stage);
      server.cut();
      await until("attach again", () => server.hellos.length > 1);
      await stopsForGood(stage);
    },
  },
  {
    name: "complete",
    promise: "repeats Complete with the same manifest when the stream breaks before it is stored",
    level: "core",
    faults: () => ({ completeFateOf: (n) => (n === 1 ? "cut" : "apply") }),
    play: async (stage) => void (await completed(stage, 2)),
  },
  {
    name: "complete-ack-lost",
    promise: "takes ILLEGAL_TRANSITION for the end when CompleteAck got lost",
    level: "core",
    faults: () => ({ completeFateOf: () => "store-and-cut" }),
    async play(stage) {
      await completed(stage);
      await stopsForGood(stage);
    },
  },
];
