// What a unary call costs. GetExecution with the execution's own token is the call that is exactly one read by primary
// key: the token names the execution, so no right has to be looked up. Beside it: the bare grpc-js unary echo with
// replies of the same size. Authentication alone: the product's server around a method that does nothing, with a scope
// (and a token) against without.
import { ExecutionServiceService, GetExecutionRequest } from "../../../src/contract/postern/v1/execution.js";
import { ratioAtLeast } from "../../figure.js";
import { median, spread } from "../../statistics.js";
import { OPEN_PATH, SCOPED_PATH } from "../auth-server.js";
import type { Load } from "../child.js";
import { ECHO_UNARY_PATH } from "../echo-server.js";
import type { UnaryLoad } from "../load/unary.js";
import type { FigureGroup, Scale } from "../plan.js";
import { costOf, measureUse, type Used } from "../usage.js";

const LANES = 32;

export const unary: FigureGroup = {
  figures: ["unary-read", "unary-authentication"],
  async *measure({ system, scale, note, wanted }) {
    const server = await system.startServer();
    const load = await system.startLoad();
    const [execution] = await system.makeExecutions(1);
    const { executionId, token } = execution!;
    const request = Buffer.from(GetExecutionRequest.encode({ executionId }).finish()).toString("base64");
    const path = ExecutionServiceService.getExecution.path;
    const read = { address: server.address, path, request, token };
    const { replyBytes } = await load.call("measureUnary", { ...read, lanes: 1, seconds: 0.1 });

    if (wanted("unary-read")) {
      const echo = await system.startEcho(replyBytes);
      const bare = { address: echo.address, path: ECHO_UNARY_PATH, request };
      const pids = { one: server.pid, other: echo.pid };
      const { one, other, costs } = await alternate(load, scale, [read, bare], pids, system.postgresPid);
      note(
        `unary-read: ${spread(one)} calls/s, echo ${spread(other)} calls/s (replies of ${replyBytes} bytes); ${costs}`,
      );
      yield {
        figure: "unary-read",
        value: median(one),
        unit: "calls/s",
        yardstick: median(other),
        bound: ratioAtLeast(0.5),
      };
      await echo.stop();
    }
    if (wanted("unary-authentication")) {
      const guarded = await system.startAuthServer(replyBytes);
      const scoped = { address: guarded.address, path: SCOPED_PATH, request, token: system.userToken };
      const open = { address: guarded.address, path: OPEN_PATH, request };
      const pids = { one: guarded.pid, other: guarded.pid };
      const { one, other, costs } = await alternate(load, scale, [scoped, open], pids);
      note(`unary-authentication: ${spread(one)} calls/s with a token, ${spread(other)} without; ${costs}`);
      yield {
        figure: "unary-authentication",
        value: median(one),
        unit: "calls/s",
        yardstick: median(other),
        bound: ratioAtLeast(0.85),
      };
      await guarded.stop();
    }
    await load.call("close");
    await load.stop();
    await server.stop();
  },
};

type Call = Omit<UnaryLoad, "lanes" | "seconds">;

/** Rounds of one call and of the other in turns; calls per second of each round. */
async function alternate(
  load: Load,
  scale: Scale,
  [one, other]: [Call, Call],
  server: { one: number; other: number },
  postgres?: number,
) {
  const rate = async (call: Call, seconds = scale.seconds) => {
    const measured = await load.call("measureUnary", { ...call, lanes: LANES, seconds });
    return measured.calls / measured.seconds;
  };
  for (const call of [one, other]) await rate(call, scale.seconds / 2); // warms them up
  const rates: { one: number[]; other: number[] } = { one: [], other: [] };
  const costs = [addedUp(), addedUp()] as const;
  for (let round = 0; round < scale.rounds; round++) {
    const first = await measureUse({ server: server.one, load: load.pid, postgres }, () => rate(one));
    const second = await measureUse({ server: server.other, load: load.pid }, () => rate(other));
    rates.one.push(first.result);
    rates.other.push(second.result);
    costs[0].add(first.used, first.result);
    costs[1].add(second.used, second.result);
  }
  return { ...rates, costs: costs.map((cost) => cost.told()).join("; beside it ") };
}

/** What calls cost over all rounds. */
function addedUp() {
  const sum: Used = { server: 0, load: 0, postgres: 0, seconds: 0 };
  let calls = 0;
  return {
    add(used: Used, rate: number) {
      for (const name of Object.keys(sum) as (keyof Used)[]) sum[name] += used[name];
      calls += rate * used.seconds;
    },
    told: () => costOf(sum, calls),
  };
}
