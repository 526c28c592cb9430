// What a good executor does beside the core: it comes through outages, drains and slow servers, and obeys commands.
import { CommandKind, ExecutionState } from "../contract/postern/v1/execution.js";
import {
  AWAY,
  attachedAgain,
  completed,
  EXPIRED,
  ended,
  HELD_CREDIT,
  SMALL_WINDOW,
  someEvents,
  stopsForGood,
} from "./deeds.js";
import type { BatchFate } from "./fake-attach.js";
import type { FakeServerOptions } from "./fake-server.js";
import { demand, type Scenario } from "./scenario.js";
import type { Stage } from "./stage.js";

const held = (): FakeServerOptions => ({ creditLimit: HELD_CREDIT, creditWindow: SMALL_WINDOW });
const ACK_FATES: BatchFate[] = ["apply", "ack-late", "ack-twice"];
/** How long what was sent may take to arrive. */
const ON_ITS_WAY_MS = 300;
/** More than anybody reports before a cancel is heard. */
const ENDLESS = 1_000_000;

function onOneStream({ server }: Stage, what: string): void {
  const { length } = server.streams;
  demand(length === 1, () => `It opened ${length} streams: ${what} is no reason for a new one.`);
}

export const RECOMMENDED_SCENARIOS: Scenario[] = [
  {
    name: "unavailable",
    promise: "tries again when its first Hello is answered with UNAVAILABLE",
    level: "recommended",
    faults: () => ({ onHello: (stream) => (stream === 1 ? AWAY : undefined) }),
    play: async (stage) => void (await completed(stage)),
  },
  {
    name: "expired",
    promise: "does not come back with a token that was refused as TOKEN_EXPIRED",
    level: "recommended",
    faults: () => ({ onHello: () => EXPIRED }),
    async play(stage) {
      await stage.until("attach and say Hello", () => stage.server.hellos.length > 0);
      await stopsForGood(stage);
    },
  },
  {
    name: "acks",
    promise: "takes Acks that come late, twice, or with an older number in between",
    level: "recommended",
    faults: () => ({ creditWindow: SMALL_WINDOW, fateOf: (n) => ACK_FATES[n % ACK_FATES.length]! }),
    async play(stage) {
      await completed(stage);
      onOneStream(stage, "an odd Ack");
    },
  },
  {
    name: "credit-lowered",
    promise: "pauses when the credit is lowered in mid-stream, and goes on when it is raised",
    level: "recommended",
    faults: () => ({ creditWindow: SMALL_WINDOW }),
    async play(stage) {
      const { server } = stage;
      await someEvents(stage);
      server.limitCredit(0n);
      await stage.pause(stage.leaseMs + 500);
      server.limitCredit(undefined);
      await completed(stage);
      onOneStream(stage, "a pause");
    },
  },
  {
    name: "slow-reader",
    promise: "waits for a server that reads slowly but is alive",
    level: "recommended",
    async play(stage) {
      const { server, leaseMs } = stage;
      await attachedAgain(stage, 1);
      server.pauseReading(leaseMs * 0.8);
      for (let beat = 0; beat < 4; beat++) {
        server.send({ $case: "heartbeat", value: { sentAt: new Date() } });
        await stage.pause(leaseMs * 0.2);
      }
      await completed(stage);
      onOneStream(stage, "a slow server");
    },
  },
  {
    name: "half-open",
    promise: "gives up a stream on which nothing comes any more within a lease, and attaches again",
    level: "recommended",
    faults: held,
    async play(stage) {
      const { server, leaseMs } = stage;
      await someEvents(stage);
      server.freeze();
      await attachedAgain(stage, 2, leaseMs + 500);
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "no-acks",
    promise: "gives up a stream on which heartbeats are answered but nothing is acknowledged",
    level: "recommended",
    faults: () => {
      // Deaf to events for as long as the first stream lasts.
      let hellos = 0;
      return {
        onHello: () => {
          hellos++;
          return undefined;
        },
        fateOf: () => (hellos === 1 ? "drop" : "apply"),
      };
    },
    async play(stage) {
      await attachedAgain(stage, 2);
      await completed(stage);
    },
  },
  {
    name: "drain",
    promise: "leaves a draining server within the grace, and attaches again",
    level: "recommended",
    faults: held,
    async play(stage) {
      const { server, leaseMs, until } = stage;
      await someEvents(stage);
      const graceMs = leaseMs;
      server.send({ $case: "drain", value: { graceMs } });
      const [draining] = server.streams;
      await until("leave the draining stream", () => draining!.endedAt !== undefined, {
        withinMs: graceMs + ON_ITS_WAY_MS,
      });
      await attachedAgain(stage);
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "restart",
    promise: "comes back to a server that was away for a whole lease",
    level: "recommended",
    faults: held,
    async play(stage) {
      const { server, leaseMs } = stage;
      await someEvents(stage);
      await server.restart(leaseMs);
      await attachedAgain(stage);
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "token-granted",
    promise: "attaches again with the token it was granted last",
    level: "recommended",
    faults: held,
    async play(stage) {
      const { server, tokens } = stage;
      await someEvents(stage);
      const fresh = await tokens.mint("execution");
      server.send({ $case: "tokenGrant", value: fresh });
      await stage.pause(ON_ITS_WAY_MS);
      server.cut();
      await attachedAgain(stage);
      const isFresh = server.streams.at(-1)!.token === fresh.token;
      demand(
        isFresh,
        () => "It attached again with an older token than the one it was granted: TokenGrant replaces the token.",
      );
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "token-asked",
    promise: "asks for a fresh token before its own runs out",
    level: "recommended",
    tokenSeconds: 4,
    faults: held,
    async play(stage) {
      const { server, tokens, until } = stage;
      await someEvents(stage);
      await until(
        "ask for a fresh token (TokenRefresh) before its own ran out",
        () => server.said.some(({ $case }) => $case === "tokenRefresh"),
        { withinMs: 4_000 },
      );
      server.send({ $case: "tokenGrant", value: await tokens.mint("execution") });
      server.limitCredit(undefined);
      await completed(stage);
    },
  },
  {
    name: "command-twice",
    promise: "acknowledges a command each time it is delivered",
    level: "recommended",
    faults: held,
    async play(stage) {
      const { server } = stage;
      await someEvents(stage);
      for (const times of [1, 2]) {
        server.command(CommandKind.COMMAND_KIND_CANCEL, "command-1");
        await commandAcknowledged(stage, times);
      }
      server.limitCredit(undefined);
      await ended(stage);
    },
  },
  {
    name: "cancel",
    promise: "stops on CANCEL and reports KILLED",
    level: "recommended",
    lines: ENDLESS,
    faults: () => ({ creditWindow: SMALL_WINDOW }),
    async play(stage) {
      await someEvents(stage);
      stage.server.command(CommandKind.COMMAND_KIND_CANCEL, "command-1");
      await commandAcknowledged(stage, 1);
      const { state } = await ended(stage);
      demand(
        state === ExecutionState.EXECUTION_STATE_KILLED,
        () => `It reported ${ExecutionState[state]} after CANCEL in the midst of its work: stop, and report KILLED.`,
      );
    },
  },
];

function commandAcknowledged({ server, until }: Stage, times: number): Promise<void> {
  const acknowledged = () =>
    server.said.filter((frame) => frame.$case === "commandAck" && frame.value.commandId === "command-1").length;
  const deed = times === 1 ? "acknowledge the command" : "acknowledge the command when it was delivered again";
  return until(deed, () => acknowledged() >= times);
}
