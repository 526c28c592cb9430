// Durable events a second in batches, each acknowledged after its commit. Beside it: binary COPY of the same rows over
// one connection, a transaction for every 1,024; and the same events where every flush takes 2 ms longer.
import { type Measurement, ratioAtLeast } from "../../figure.js";
import { median, spread } from "../../statistics.js";
import type { Load } from "../child.js";
import type { FigureDeps, FigureGroup } from "../plan.js";
import { type BenchSystem, requireStored } from "../system.js";
import { coresOf, costOf, measureUse } from "../usage.js";

const SHAPES = [64, 256].flatMap((batch) => [1, 8, 32].map((streams) => ({ batch, streams })));
type Shape = (typeof SHAPES)[number];

const COPY_SHARE = 0.6;
const DELAYED_SHARE = 0.75;
const COMMIT_DELAY_US = 2_000;
const LEASE_MS = 3_600_000;

const durableName = ({ batch, streams }: Shape) => `durable-${batch}x${streams}`;
const delayedName = (shape: Shape) => `commit-delay-${durableName(shape)}`;

export const durable: FigureGroup = {
  figures: SHAPES.map(durableName),
  measure: (deps) => measureShapes(deps, durableName, againstCopy),
};

export const commitDelay: FigureGroup = {
  figures: SHAPES.map(delayedName),
  measure: (deps) => measureShapes(deps, delayedName, againstDelay),
};

interface Ready extends FigureDeps {
  shape: Shape;
  server: { pid: number };
  load: Load;
  executionIds: string[];
}

async function* measureShapes(
  deps: FigureDeps,
  nameOf: (shape: Shape) => string,
  measure: (ready: Ready) => Promise<Measurement>,
): AsyncIterable<Measurement> {
  const { system } = deps;
  const server = await system.startServer({ leaseMs: LEASE_MS });
  const load = await system.startLoad();
  for (const shape of SHAPES.filter((one) => deps.wanted(nameOf(one)))) {
    const executions = await system.makeExecutions(shape.streams);
    const { planDigest, operators } = system;
    const { batch } = shape;
    await load.call("openServerLanes", { address: server.address, executions, planDigest, operators, batch });
    await load.call("measureLanes", { of: "server", seconds: deps.scale.seconds / 3 }); // warms both up
    yield await measure({ ...deps, shape, server, load, executionIds: executions.map((one) => one.executionId) });
    await load.call("close");
  }
  await load.stop();
  await server.stop();
}

async function againstCopy(ready: Ready): Promise<Measurement> {
  const { system, scale, shape, executionIds, note } = ready;
  const yardstick = await system.startLoad();
  const { connection, operators } = system;
  await yardstick.call("openCopy", { connection, executionIds, operators, batch: shape.batch });
  await yardstick.call("measureCopy", scale.seconds / 3);
  const [rates, copies]: [number[], number[]] = [[], []];
  let told = "";
  for (let round = 0; round < scale.rounds; round++) {
    await system.sweep();
    const measured = await measureRound(ready);
    rates.push(measured.rate);
    told = measured.told;
    await system.sweep();
    const copy = await yardstick.call("measureCopy", scale.seconds);
    copies.push(copy.rows / copy.seconds);
  }
  await yardstick.call("close");
  await yardstick.stop();
  note(`${durableName(shape)}: ${spread(rates)} events/s, COPY ${spread(copies)} rows/s; ${told}`);
  return {
    figure: durableName(shape),
    value: median(rates),
    unit: "events/s",
    yardstick: median(copies),
    bound: ratioAtLeast(COPY_SHARE),
  };
}

async function againstDelay(ready: Ready): Promise<Measurement> {
  const { system, scale, shape, note } = ready;
  const [delayed, plain]: [number[], number[]] = [[], []];
  try {
    for (let round = 0; round < scale.rounds; round++) {
      for (const [delayUs, rates] of [
        [COMMIT_DELAY_US, delayed],
        [0, plain],
      ] as const) {
        await setCommitDelay(system, delayUs);
        await system.sweep();
        rates.push((await measureRound(ready)).rate);
      }
    }
  } finally {
    await setCommitDelay(system, 0);
  }
  note(`${delayedName(shape)}: ${spread(delayed)} events/s with a flush 2 ms longer, ${spread(plain)} without`);
  return {
    figure: delayedName(shape),
    value: median(delayed),
    unit: "events/s",
    yardstick: median(plain),
    bound: ratioAtLeast(DELAYED_SHARE),
  };
}

async function measureRound({ system, scale, load, server }: Ready): Promise<{ rate: number; told: string }> {
  const before = await walBytes(system);
  const pids = { server: server.pid, load: load.pid, postgres: system.postgresPid };
  const { result, used } = await measureUse(pids, () =>
    load.call("measureLanes", { of: "server", seconds: scale.seconds }),
  );
  const perEvent = Math.round(((await walBytes(system)) - before) / result.events);
  await requireStored(system, result.events);
  return {
    rate: result.events / result.seconds,
    told: `${perEvent} bytes of WAL an event; ${coresOf(used)}; ${costOf(used, result.events)}`,
  };
}

async function walBytes({ sql }: BenchSystem): Promise<number> {
  const { rows } = await sql.query<{ bytes: number }>(
    "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::double precision as bytes",
  );
  return rows[0]!.bytes;
}

/** Makes every flush wait; running sessions follow. */
async function setCommitDelay({ sql }: BenchSystem, delayUs: number): Promise<void> {
  await sql.query(`alter system set commit_delay = ${delayUs}`);
  await sql.query("alter system set commit_siblings = 0");
  await sql.query("select pg_reload_conf()");
  await sql.query("select pg_sleep(0.2)"); // the postmaster tells its children
}
