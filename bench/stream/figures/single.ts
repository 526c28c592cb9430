// Durable events a second when each message carries one, on 32 streams. Beside it: the bare grpc-js echo of the same
// messages, with a message like an Ack for each.
import { ratioAtLeast } from "../../figure.js";
import { median, spread } from "../../statistics.js";
import type { FigureGroup } from "../plan.js";
import { requireStored } from "../system.js";
import { coresOf, costOf, measureUse } from "../usage.js";

const NAME = "durable-1x32";
const STREAMS = 32;
const ECHO_SHARE = 0.5;
const LEASE_MS = 3_600_000;

export const single: FigureGroup = {
  figures: [NAME],
  async *measure({ system, scale, note }) {
    const server = await system.startServer({ leaseMs: LEASE_MS });
    const echo = await system.startEcho();
    const [load, echoLoad] = [await system.startLoad(), await system.startLoad()];
    const executions = await system.makeExecutions(STREAMS);
    const { planDigest, operators } = system;
    await load.call("openServerLanes", { address: server.address, executions, planDigest, operators, batch: 1 });
    await echoLoad.call("openEchoLanes", { address: echo.address, streams: STREAMS, operators, batch: 1 });
    await load.call("measureLanes", { of: "server", seconds: scale.seconds / 3 });
    await echoLoad.call("measureLanes", { of: "echo", seconds: scale.seconds / 3 });
    const [rates, echoes]: [number[], number[]] = [[], []];
    let told = "";
    for (let round = 0; round < scale.rounds; round++) {
      await system.sweep();
      const pids = { server: server.pid, load: load.pid, postgres: system.postgresPid };
      const { result, used } = await measureUse(pids, () =>
        load.call("measureLanes", { of: "server", seconds: scale.seconds }),
      );
      await requireStored(system, result.events);
      rates.push(result.events / result.seconds);
      told = `${coresOf(used)}; ${costOf(used, result.events)}`;
      const bare = await echoLoad.call("measureLanes", { of: "echo", seconds: scale.seconds });
      echoes.push(bare.events / bare.seconds);
    }
    note(`${NAME}: ${spread(rates)} events/s, echo ${spread(echoes)} messages/s; ${told}`);
    yield {
      figure: NAME,
      value: median(rates),
      unit: "events/s",
      yardstick: median(echoes),
      bound: ratioAtLeast(ECHO_SHARE),
    };
    for (const one of [load, echoLoad]) await one.call("close");
    for (const one of [load, echoLoad, server, echo]) await one.stop();
  },
};
