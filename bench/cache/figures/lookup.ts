// LookupPlan of 200 and 1,000 ports among a million entries, through gRPC, from call to decoded reply. Beside it: the bare
// join of as many hashes with the table, prepared, over a connection of this process. And lookups of 200 ports while
// sixteen connections commit entries: as fast as they can, which leaves no processor idle, and as sixteen executors would
// that finish a port every 50 ms.
//
// The executions are real ones, of a workflow whose every operator is viewed; prepared before the cache has anything. Each
// port has ten earlier entries beside the one that is found. `make bench-cache` gives this process a young generation of
// 64 MB: its own collections of garbage would fall into what it times, on either side.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { PortLookup_Outcome } from "../../../src/contract/postern/v1/cache.js";
import { CacheMode, type ExecutionSpec } from "../../../src/contract/postern/v1/execution.js";
import { fingerprints } from "../../../src/core/fingerprint.js";
import { callUnary } from "../../../src/rpc/channel.js";
import { physicalPlanFromWire } from "../../../src/rpc/plan-codec.js";
import { atMost } from "../../figure.js";
import { median, percentile, spread } from "../../statistics.js";
import { ENTRY_COLUMNS, FINGERPRINT_BYTES } from "../entry-columns.js";
import { type CacheSystem, type FigureGroup, PROJECT } from "../system.js";
import type { WriterThread } from "../writer-thread.js";

const SIZES = [
  { ports: 200, bound: atMost(6) },
  { ports: 1_000, bound: atMost(15) },
] as const;
const WRITERS = 16;
/** Lookups beside writers: of each writer's commits how far they lie apart. */
const BESIDE = [
  { figure: "lookup-200-beside-16-writers-p99", everyMs: 0 },
  { figure: "lookup-200-beside-16-executors-p99", everyMs: 50 },
] as const;
const SEED_BATCH = 50_000;
/** Earlier entries of each port that is looked up: results of versions of the workflow before this one. */
const EARLIER = 10;

export const lookup: FigureGroup = {
  figures: [...SIZES.map(({ ports }) => `lookup-${ports}-p50`), ...BESIDE.map(({ figure }) => figure)],
  async *measure({ system, scale, note, wanted }) {
    const executions = [];
    for (const { ports } of SIZES) executions.push(await prepareWide(system, ports));
    note(`filling the cache with ${scale.entries.toLocaleString("en")} entries`);
    await fillCache(system, scale.entries);
    for (const execution of executions) await addEntries(system, execution);
    // Else autovacuum does it beside the measurement.
    await system.sql.query("vacuum analyze cache_entry, blob, workflow");
    await system.sql.query("checkpoint");

    for (const [i, { ports, bound }] of SIZES.entries()) {
      const execution = executions[i]!;
      for (let n = 0; n < scale.lookups; n++) await lookUp(system, execution); // warms it up
      const ours: number[] = [];
      const bare: number[] = [];
      for (let round = 0; round < scale.rounds; round++) {
        for (let n = 0; n < scale.lookups; n++) ours.push(await lookUp(system, execution));
        for (let n = 0; n < scale.lookups; n++) bare.push(await bareLookUp(system, execution));
      }
      note(
        `lookup-${ports}: ${spread(ours)} ms, p99 ${percentile(ours, 0.99).toFixed(1)}; bare SQL ${spread(bare)} ms`,
      );
      const [value, yardstick] = [median(ours), median(bare)];
      yield { figure: `lookup-${ports}-p50`, value, unit: "ms", yardstick, bound };
    }
    const execution = executions[0]!;
    for (const { figure, everyMs } of BESIDE) {
      if (!wanted(figure)) continue;
      const quiet: number[] = [];
      for (let n = 0; n < scale.lookups * 2; n++) quiet.push(await lookUp(system, execution));
      const writers = await startWriters(system, everyMs);
      const busy: number[] = [];
      try {
        const until = performance.now() + scale.seconds * 1_000;
        while (performance.now() < until) busy.push(await lookUp(system, execution));
      } finally {
        const rate = Math.round((await writers.stop()) / scale.seconds);
        note(`${figure}: ${busy.length} lookups, p50 ${median(busy).toFixed(1)} ms, ${rate} commits/s`);
      }
      yield {
        figure,
        value: percentile(busy, 0.99),
        unit: "ms",
        yardstick: percentile(quiet, 0.99),
        bound: atMost(30),
      };
    }
  },
};

interface Wide {
  spec: ExecutionSpec;
  token: string;
  workflowId: string;
  ports: { globalPortId: string; hash: string; json: string }[];
}

/** An execution with so many ports to look up. */
async function prepareWide(system: CacheSystem, ports: number): Promise<Wide> {
  const workflowId = `wide-${ports}`;
  const filters = Array.from({ length: ports - 1 }, (_, i) => ({
    id: `f${i}`,
    type: "filter",
    properties: { predicate: `weight > ${i}` },
    viewResult: true,
  }));
  await system.putWorkflow(workflowId, {
    operators: [{ id: "rows", type: "scan", properties: { dataset: "rows" }, viewResult: true }, ...filters],
    links: filters.map(({ id }) => ({ from: "rows", to: id })),
  });
  const { spec, token } = await system.prepare(workflowId, { queue: false, cache: CacheMode.CACHE_MODE_USE });
  const prints = fingerprints(physicalPlanFromWire(spec!.plan!));
  const found = [...prints].flatMap(([globalPortId, print]) => ("hash" in print ? [{ globalPortId, ...print }] : []));
  if (found.length !== ports) throw new Error(`The plan has ${found.length} cacheable ports instead of ${ports}.`);
  return { spec: spec!, token, workflowId, ports: found };
}

/** Entries of many other workflows, with hashes as random as SHA-256 gives. */
async function fillCache({ sql }: CacheSystem, entries: number): Promise<void> {
  for (let from = 0; from < entries; from += SEED_BATCH) {
    const count = Math.min(SEED_BATCH, entries - from);
    const tag = randomBytes(4).toString("hex");
    await sql.query(
      `insert into workflow (project_id, id, latest_version, created_by)
       select $1, 'w-' || $2 || '-' || n, 0, 'bench' from generate_series(1, 10) n`,
      [PROJECT, tag],
    );
    await sql.query(
      `with made as materialized (
         select 'file:///none/' || $2 || '/' || n as uri, 'w-' || $2 || '-' || (n % 10 + 1) as workflow_id, n,
                encode(sha256(convert_to($2 || n, 'UTF8')), 'hex') as hash
           from generate_series(1, $3) n),
       objects as (
         insert into blob (uri, project_id, execution_id, row_count, byte_count, compute_ms)
         select uri, $1, gen_random_uuid(), 1000, 4096, 5 from made)
       insert into cache_entry (${ENTRY_COLUMNS})
       select $1, workflow_id, '(logicalOpId=op' || n || ',layerName=main,portId=0,isInternal=false,isInput=false)',
              hash, repeat('x', ${FINGERPRINT_BYTES}), uri, 1000, 4096, gen_random_uuid(), 'filter', 5
         from made`,
      [PROJECT, tag, count],
    );
  }
}

/** What the execution will look up, and earlier results of the same ports. */
async function addEntries({ sql }: CacheSystem, { spec, workflowId, ports }: Wide): Promise<void> {
  const earlier = `file:///none/${workflowId}/earlier`;
  await sql.query(
    `insert into blob (uri, project_id, execution_id, row_count, byte_count) values ($1, $2, $3, 1000, 4096)`,
    [earlier, PROJECT, spec.executionId],
  );
  await sql.query(
    `insert into cache_entry (${ENTRY_COLUMNS})
     select $1, $2, id, encode(sha256(convert_to(n || hash, 'UTF8')), 'hex'), repeat('x', ${FINGERPRINT_BYTES}), $6, 1000, 4096,
            $3::uuid, 'filter', 5
       from generate_series(1, ${EARLIER}) n, unnest($4::text[], $5::text[]) as u(id, hash)`,
    [
      PROJECT,
      workflowId,
      spec.executionId,
      ports.map((port) => port.globalPortId),
      ports.map((port) => port.hash),
      earlier,
    ],
  );
  const params = [
    PROJECT,
    workflowId,
    spec.executionId,
    ports.map((port) => port.globalPortId),
    ports.map((port) => port.hash),
    ports.map((port) => port.json),
  ];
  await sql.query(
    `insert into blob (uri, project_id, execution_id, row_count, byte_count, compute_ms)
     select 'file:///none/' || $2 || '/' || hash, $1, $3::uuid, 1000, 4096, 5 from unnest($5::text[]) as u(hash)
       where cardinality($4::text[]) = cardinality($6::text[])`,
    params,
  );
  await sql.query(
    `insert into cache_entry (${ENTRY_COLUMNS})
     select $1, $2, id, hash, json, 'file:///none/' || $2 || '/' || hash, 1000, 4096, $3::uuid, 'filter', 5
       from unnest($4::text[], $5::text[], $6::text[]) as u(id, hash, json)`,
    params,
  );
}

/** One lookup of every port; how long it took, in milliseconds. */
async function lookUp({ clients }: CacheSystem, { spec, token, ports }: Wide): Promise<number> {
  const startedAt = performance.now();
  const request = { executionId: spec.executionId, globalPortIds: [], brokenUris: [] };
  const reply = await callUnary(clients.caches, "lookupPlan", request, { token });
  const took = performance.now() - startedAt;
  const hits = reply.ports.filter(({ outcome }) => outcome === PortLookup_Outcome.OUTCOME_HIT).length;
  if (hits !== ports.length) throw new Error(`${hits} of ${ports.length} ports were found.`);
  return took;
}

async function bareLookUp({ sql }: CacheSystem, { workflowId, ports }: Wide): Promise<number> {
  const startedAt = performance.now();
  const { rows } = await sql.query({
    name: "bare",
    text: `select e.* from unnest($3::text[], $4::text[]) as u(id, hash)
             join cache_entry e on e.project_id = $1 and e.workflow_id = $2 and e.global_port_id = u.id
              and e.subdag_hash = u.hash`,
    values: [PROJECT, workflowId, ports.map((port) => port.globalPortId), ports.map((port) => port.hash)],
  });
  const took = performance.now() - startedAt;
  if (rows.length !== ports.length) throw new Error(`The bare join found ${rows.length} of ${ports.length} ports.`);
  return took;
}

/** Writers on a thread of their own: they share the machine with the lookups, not the event loop that times them. */
async function startWriters({ connection }: CacheSystem, everyMs: number): Promise<{ stop(): Promise<number> }> {
  const thread = new Worker(new URL(`../writer-thread${extname(import.meta.url)}`, import.meta.url), {
    workerData: { connection, project: PROJECT, writers: WRITERS, everyMs } satisfies WriterThread,
  });
  await once(thread, "message");
  return {
    async stop() {
      const done = once(thread, "message");
      thread.postMessage("stop");
      const [commits] = await done;
      await thread.terminate();
      return commits as number;
    },
  };
}
