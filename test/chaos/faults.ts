// The faults of a run. Each disturbs the system in one way, for a time the dice tell, and undoes what it did; only
// processes and backends of the run itself are signalled.
import { setTimeout as delay } from "node:timers/promises";
import { databaseUserOf } from "./chaos-database.js";
import type { ChaosExecutor, ChaosReplica, ChaosSystem } from "./chaos-system.js";
import type { Direction, Passage } from "./fault-proxy.js";
import { signalProcess } from "./kept-process.js";
import type { SeededRandom } from "./seeded-random.js";
import type { TappedStream } from "./wire-tap.js";

/** What is wrong now; the run looks at it to tell lost attempts from wasted ones. */
export interface Troubles {
  frozenExecutors: Set<string>;
  /** `executorId/replica` */
  cutPaths: Set<string>;
  /** Replicas that do not answer. */
  awayReplicas: Set<number>;
}

export interface FaultContext {
  system: ChaosSystem;
  troubles: Troubles;
  say: (line: string) => void;
}

type Fault = (context: FaultContext, dice: SeededRandom) => Promise<void>;

export const FAULTS = {
  /** kill -9 of a replica, which comes back after a while. */
  "server-kill": async (context, dice) => killReplica(context, pickReplica(context, dice), dice.between(100, 1_500)),

  /** A rolling restart. */
  "server-restart": async (context, dice) => {
    const index = pickReplica(context, dice);
    await whileAway(context, index, async (replica) => {
      await replica.process.end("SIGTERM");
      replica.process.start();
      await replica.process.untilReady();
    });
  },

  "server-freeze": async (context, dice) => freezeReplica(context, dice, context.system.leaseMs * 0.3),
  /** Longer than the lease: executors go elsewhere, and it wakes up with what they had sent it. */
  "server-freeze-long": async (context, dice) => freezeReplica(context, dice, context.system.leaseMs * 1.4),

  /** Frozen while its writer's backend waits for the next statement, with the locks of a whole group. */
  "server-freeze-write": async (context, dice) => freezeInWrite(context, dice),

  "executor-kill": async (context, dice) => {
    const executor = dice.pick(context.system.executors);
    context.system.streams.executorDisturbed(executor.id);
    await executor.process.end("SIGKILL");
    await delay(dice.between(50, 800));
    executor.process.start();
    await executor.process.untilReady();
  },

  "executor-freeze": async (context, dice) => freezeExecutor(context, dice, context.system.leaseMs * 0.3),
  /** Longer than the lease: another one takes over, and the old one wakes up. */
  "executor-freeze-long": async (context, dice) => freezeExecutor(context, dice, context.system.leaseMs * 2.5),

  /** kill -9 of the postmaster. */
  "postgres-kill": async (context, dice) => {
    await context.system.database.kill();
    await delay(dice.between(0, 800));
    await context.system.database.start();
  },

  /** kill -9 of one backend, after which Postgres restarts all of them. */
  "backend-kill": async (context, dice) => {
    const pid = await backend(context, "true", dice);
    if (pid !== undefined) signalProcess(pid, "SIGKILL");
  },

  "backend-terminate": async (context, dice) => {
    const pid = await backend(context, "query not ilike 'listen%'", dice);
    if (pid !== undefined) await context.system.database.ask("select pg_terminate_backend($1)", [pid]).catch(away);
  },

  /** Hints stop until the replicas listen again. */
  "listen-terminate": async (context) => {
    const all = `select pg_terminate_backend(pid) from pg_stat_activity
                  where usename like 'replica%' and query ilike 'listen%'`;
    await context.system.database.ask(all).catch(away);
  },

  /** A writer's backend frozen in the midst of COMMIT and terminated; its replica is killed before it can know. */
  "commit-freeze": async (context, dice) => freezeWriter(context, dice, { inCommit: true, killsReplica: true }),
  /** The same before COMMIT: what it was writing is lost, whatever was committed beside it. */
  "write-freeze": async (context, dice) => freezeWriter(context, dice, { inCommit: false, killsReplica: true }),
  /** Its replica gives the frozen backend up and goes on, and then the commit turns out to have happened. */
  "commit-stall": async (context, dice) => freezeWriter(context, dice, { inCommit: true, killsReplica: false }),

  /** A replica is frozen with an attempt's first words in its hands, and wakes up when the next attempt has begun. */
  "late-words": async (context, dice) => lateWords(context, dice),

  /** What executors send to one replica is lost; the connections stay open. */
  "cut-up": async (context, dice) => disturbPath(context, dice, "up", "swallow"),
  /** What a replica sends, acknowledgements included, is lost; the connections stay open. */
  "cut-down": async (context, dice) => disturbPath(context, dice, "down", "swallow"),
  /** What an executor sends arrives much later, when it speaks with another replica already. */
  "delay-up": async (context, dice) => disturbPath(context, dice, "up", "hold"),

  /** Every connection of one executor is cut, and refused for a while. */
  cut: async (context, dice) => {
    const executor = dice.pick(context.system.executors);
    await whilePaths(context, executor, executor.paths.keys(), async () => {
      for (const path of executor.paths) {
        path.refuse(true);
        path.cut();
      }
      await delay(dice.between(0, context.system.leaseMs * 0.4));
      for (const path of executor.paths) path.refuse(false);
    });
  },

  /** Acknowledgements are on their way when the replica dies: committed, and nobody was told. */
  "ack-hold": async (context, dice) => {
    const index = pickReplica(context, dice);
    const paths = context.system.executors.map((executor) => executor.paths[index]!);
    for (const path of paths) path.set("down", "hold");
    await delay(dice.between(50, 200));
    const killed = killReplica(context, index, dice.between(100, 1_000));
    for (const path of paths) {
      // What was held dies with the replica.
      path.cut();
      path.set("down", "pass");
    }
    await killed;
  },
} satisfies Record<string, Fault>;

export type FaultKind = keyof typeof FAULTS;
export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

/** The database is away: another fault has been quicker. */
const away = (): void => {};

/** One that executors are attached to, if there is one: this executor, or any. */
function pickReplica({ system }: FaultContext, dice: SeededRandom, executorId?: string): number {
  const all = [...system.replicas.keys()];
  const attached = all.filter((index) => system.streams.attachedTo(index, executorId) > 0);
  return dice.pick(attached.length > 0 ? attached : all);
}

async function whileAway(
  { system, troubles }: FaultContext,
  index: number,
  work: (replica: ChaosReplica) => Promise<void>,
): Promise<void> {
  troubles.awayReplicas.add(index);
  try {
    await work(system.replicas[index]!);
  } finally {
    troubles.awayReplicas.delete(index);
  }
}

async function killReplica(context: FaultContext, index: number, downMs: number): Promise<void> {
  await whileAway(context, index, async ({ process }) => {
    context.system.streams.replicaKilled(index);
    await process.end("SIGKILL");
    await delay(downMs);
    process.start();
    await process.untilReady();
  });
}

async function freezeReplica(context: FaultContext, dice: SeededRandom, ms: number): Promise<void> {
  await whileAway(context, pickReplica(context, dice), async ({ process }) => {
    process.freeze();
    await delay(ms * (0.8 + dice.next() * 0.4));
    process.thaw();
  });
}

async function freezeExecutor(context: FaultContext, dice: SeededRandom, ms: number): Promise<void> {
  const { id, process } = dice.pick(context.system.executors);
  context.system.streams.executorDisturbed(id);
  context.troubles.frozenExecutors.add(id);
  process.freeze();
  await delay(ms * (0.8 + dice.next() * 0.4));
  process.thaw();
  context.troubles.frozenExecutors.delete(id);
}

async function whilePaths(
  { troubles }: FaultContext,
  { id }: ChaosExecutor,
  replicas: Iterable<number>,
  work: () => Promise<void>,
): Promise<void> {
  const cut = [...replicas].map((replica) => `${id}/${replica}`);
  for (const path of cut) troubles.cutPaths.add(path);
  try {
    await work();
  } finally {
    for (const path of cut) troubles.cutPaths.delete(path);
  }
}

/** Disturbs one direction between one executor and the replica it is attached to, for less or more than a lease. */
async function disturbPath(
  context: FaultContext,
  dice: SeededRandom,
  direction: Direction,
  passage: Passage,
): Promise<void> {
  const executor = dice.pick(context.system.executors);
  const replica = pickReplica(context, dice, executor.id);
  const path = executor.paths[replica]!;
  await whilePaths(context, executor, [replica], async () => {
    path.set(direction, passage);
    await delay(context.system.leaseMs * dice.pick([0.2, 0.8, 1.3]));
    path.set(direction, "pass");
  });
}

/** A backend of some replica, by chance. */
async function backend({ system }: FaultContext, where: string, dice: SeededRandom): Promise<number | undefined> {
  const sql = `select pid from pg_stat_activity where usename like 'replica%' and ${where} order by pid`;
  const found = await system.database.ask<{ pid: number }>(sql).catch(() => []); // away: nothing to hit
  return found.length > 0 ? dice.pick(found).pid : undefined;
}

const FIND_WITHIN_MS = 3_000;

async function freezeWriter(
  context: FaultContext,
  dice: SeededRandom,
  { inCommit, killsReplica }: { inCommit: boolean; killsReplica: boolean },
): Promise<void> {
  const { system, say } = context;
  const index = pickReplica(context, dice);
  // Commits take longer meanwhile, or none would ever be met.
  if (inCommit) await tuneCommits(context, 20_000);
  else await slowWrites(context, true);
  try {
    const pid = await frozenWriter(context, index, inCommit);
    if (pid === undefined) {
      say("no writer was met");
      return;
    }
    try {
      await delay(killsReplica ? dice.between(200, 900) : stallMs(system.leaseMs, dice));
      // It is terminated, but frozen: nobody knows yet.
      await system.database.ask("select pg_terminate_backend($1)", [pid]).catch(away);
      const killed = killsReplica ? killReplica(context, index, dice.between(100, 800)) : Promise.resolve();
      await delay(20);
      signalProcess(pid, "SIGCONT");
      await killed;
    } finally {
      signalProcess(pid, "SIGCONT");
    }
  } finally {
    if (inCommit) await tuneCommits(context, 0);
    else await slowWrites(context, false);
  }
}

/** So long that a replica gives its writer up, and not so long that executors give the replica up. */
function stallMs(leaseMs: number, dice: SeededRandom): number {
  const writerGivenUp = Math.max(1_000, leaseMs / 3) + 100;
  return dice.between(writerGivenUp, Math.max(writerGivenUp, leaseMs / 2 - 150));
}

const FIRST_WORDS_WITHIN_MS = 10_000;

async function lateWords(context: FaultContext, dice: SeededRandom): Promise<void> {
  const { system, say } = context;
  const { streams, replicas, executors, leaseMs } = system;
  const met = await firstWords(context);
  if (!met) {
    say("no attempt began");
    return;
  }
  const { stream, replica } = met;
  const executor = executors.find(({ id }) => id === stream.executorId)!;
  await delay(dice.between(30, 80));
  // Its connection seems to be there as long as the replica sleeps.
  executor.paths[replica]!.set("up", "hold");
  let next: (begun: boolean) => void = () => {};
  const taken = new Promise<boolean>((resolve) => {
    next = resolve;
  });
  const ignore = streams.onWelcome(({ executionId, attempt }) => {
    if (executionId !== stream.executionId || attempt <= stream.attempt) return;
    replicas[replica]!.process.thaw();
    next(true);
  });
  const late = setTimeout(() => next(false), 4 * leaseMs);
  try {
    streams.executorDisturbed(executor.id);
    await executor.process.end("SIGKILL");
    executor.process.start();
    await executor.process.untilReady();
    if (!(await taken)) say("nobody took over");
    // What it wakes up with is to be tried before its streams are cut.
    await delay(200);
  } finally {
    clearTimeout(late);
    ignore();
    replicas[replica]!.process.thaw();
    context.troubles.awayReplicas.delete(replica);
    executor.paths[replica]!.set("up", "pass");
  }
}

/** Freezes a replica as it takes in an attempt nothing is stored of; resolves when the executor has spoken. */
function firstWords({ system, troubles }: FaultContext) {
  const { streams, replicas } = system;
  return new Promise<{ stream: TappedStream; replica: number } | undefined>((resolve) => {
    let met: { stream: TappedStream; replica: number } | undefined;
    const end = (found: typeof met) => {
      clearTimeout(late);
      ignoreWelcome();
      ignoreSpeech();
      if (!found && met) replicas[met.replica]!.process.thaw();
      if (!found && met) troubles.awayReplicas.delete(met.replica);
      resolve(found);
    };
    const ignoreWelcome = streams.onWelcome((stream, replica, lastSequence) => {
      if (met || lastSequence !== 0n) return;
      met = { stream, replica };
      replicas[replica]!.process.freeze();
      troubles.awayReplicas.add(replica);
    });
    const ignoreSpeech = streams.onSpeech((stream) => {
      if (met?.stream === stream) end(met);
    });
    const late = setTimeout(() => end(undefined), FIRST_WORDS_WITHIN_MS);
  });
}

async function tuneCommits({ system }: FaultContext, delayMicros: number): Promise<void> {
  for (const sql of [
    `alter system set commit_delay = ${delayMicros}`,
    `alter system set commit_siblings = ${delayMicros > 0 ? 0 : 5}`,
    "select pg_reload_conf()",
  ])
    await system.database.query(sql);
}

/** Makes every insertion of events sleep for a moment before its commit, or no longer. */
async function slowWrites({ system }: FaultContext, slow: boolean): Promise<void> {
  const sql = slow
    ? `create or replace function chaos_nap() returns trigger language plpgsql as
         $$ begin perform pg_sleep(0.03); return null; end $$;
       create or replace trigger chaos_nap after insert on execution_event
         for each statement execute function chaos_nap()`
    : "drop function if exists chaos_nap cascade";
  await system.database.query(sql);
}

async function freezeInWrite(context: FaultContext, dice: SeededRandom): Promise<void> {
  const { system, say } = context;
  const index = pickReplica(context, dice);
  const sql = `select pid from pg_stat_activity
                where usename = $1 and application_name = 'postern-writer' and state = 'idle in transaction'`;
  const waits = async () => (await system.database.ask(sql, [databaseUserOf(index)]).catch(() => [])).length > 0; // asked again
  await whileAway(context, index, async ({ process }) => {
    for (const until = Date.now() + FIND_WITHIN_MS; Date.now() < until; await delay(1)) {
      // The moment is too short to be met awake: it is frozen by chance, and looked at then.
      process.freeze();
      if (await waits()) {
        await delay(system.leaseMs * (1.6 + dice.next() * 0.4));
        process.thaw();
        return;
      }
      process.thaw();
      await delay(dice.between(1, 7));
    }
    say("no transaction was met");
  });
}

/** Freezes a backend of the replica's writer while it stores events; undefined when none is met in time. */
async function frozenWriter({ system }: FaultContext, index: number, inCommit: boolean): Promise<number | undefined> {
  // pg_stat_activity shows the beginning of a statement. One that has lasted for so long while commits are slowed down is
  // in the midst of its own; while writes are, it sleeps before it.
  const writes = "(query ilike '%with advanced as%' or query ilike '%insert into execution_event%')";
  const doing = inCommit
    ? `(query ilike 'commit%' or (${writes} and clock_timestamp() - query_start > interval '12 ms'))`
    : `${writes} and wait_event = 'PgSleep'`;
  const sql = `select pid from pg_stat_activity
                where usename = $1 and application_name = 'postern-writer' and state <> 'idle' and ${doing}`;
  const met = () => system.database.ask<{ pid: number }>(sql, [databaseUserOf(index)]).catch(() => []); // asked again
  for (const until = Date.now() + FIND_WITHIN_MS; Date.now() < until; await delay(2)) {
    const [found] = await met();
    if (!found) continue;
    signalProcess(found.pid, "SIGSTOP");
    if ((await met()).some(({ pid }) => pid === found.pid)) return found.pid;
    // It had gone on before the signal came.
    signalProcess(found.pid, "SIGCONT");
  }
  return undefined;
}
