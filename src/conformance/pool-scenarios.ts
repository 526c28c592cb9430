// What a pooled executor does on its Serve stream.
import {
  attachedAgain,
  completed,
  HELD_CREDIT,
  longestSilence,
  requireHeartbeats,
  SMALL_WINDOW,
  someEvents,
} from "./deeds.js";
import { demand, type Scenario } from "./scenario.js";
import type { Stage } from "./stage.js";

const held = () => ({ creditLimit: HELD_CREDIT, creditWindow: SMALL_WINDOW });
const POOL = { level: "recommended", mode: "pool" } as const;

/** The Attach stream has not been touched by what happened to the Serve stream. */
async function goesOnUndisturbed(stage: Stage): Promise<void> {
  const { length } = stage.server.streams;
  demand(length === 1, () => `It attached ${length} times: an execution outlives the Serve stream that brought it.`);
  stage.server.limitCredit(undefined);
  await completed(stage);
}

const servesAgain = ({ server, until }: Stage) => until("say ServeHello again", () => server.serveHellos.length > 1);

export const POOL_SCENARIOS: Scenario[] = [
  {
    ...POOL,
    name: "serve-heartbeat",
    promise: "sends a Heartbeat on Serve every third of the lease",
    assigned: false,
    async play({ server, leaseMs, pause }) {
      const from = performance.now();
      await pause(leaseMs * 2);
      requireHeartbeats(longestSilence(server.serveHeartbeats, from, performance.now()), leaseMs);
    },
  },
  {
    ...POOL,
    name: "assigned-twice",
    promise: "takes an assignment that is delivered twice as one",
    faults: held,
    async play(stage) {
      const { server, spec, until } = stage;
      await someEvents(stage);
      await stage.assign();
      const answers = () =>
        server.served.filter((f) => f.$case === "assignmentAck" && f.value.executionId === spec.executionId).length;
      await until("answer both assignments (AssignmentAck)", () => answers() >= 2);
      await goesOnUndisturbed(stage);
    },
  },
  {
    ...POOL,
    name: "serve-cut",
    promise: "connects again when its Serve stream breaks, and goes on with its execution meanwhile",
    faults: held,
    async play(stage) {
      await someEvents(stage);
      stage.server.cutPool();
      await servesAgain(stage);
      await goesOnUndisturbed(stage);
    },
  },
  {
    ...POOL,
    name: "serve-drain",
    promise: "connects again when the server drains",
    assigned: false,
    async play(stage) {
      const graceMs = stage.leaseMs;
      stage.server.sendToPool({ $case: "drain", value: { graceMs } });
      await servesAgain(stage);
    },
  },
  {
    ...POOL,
    name: "slot-free",
    promise: "says SlotsChanged when an execution has ended",
    async play(stage) {
      const { server, until } = stage;
      await attachedAgain(stage, 1);
      await completed(stage);
      const isFree = () => server.served.some((f) => f.$case === "slotsChanged" && f.value.freeSlots > 0);
      await until("say that its slot is free again (SlotsChanged)", isFree);
    },
  },
  {
    ...POOL,
    name: "sigterm",
    promise: "says Goodbye on Serve at SIGTERM, and ends what runs before it leaves",
    faults: held,
    async play(stage) {
      const { server, executor, until } = stage;
      await someEvents(stage);
      executor.signal("SIGTERM");
      await until("say Goodbye on Serve", () => server.served.some(({ $case }) => $case === "goodbye"), {
        mayEnd: true,
      });
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
];
