// Which entries of the port cache stand for which ports.
//
// K1  One entry at most stands for a port: that of the same workflow and port, else of the same workflow, else, where the
//     project shares its cache, a shareable one of any workflow whose datasets the subject may all read.
// K2  Hash and fingerprint both are equal: a collision is a miss (F4). Of the fingerprint its first 16 bytes under another
//     digest are compared, which Postgres makes of the stored JSON (decision 17).
// K3  One probe of the index cache_entry_hash for each port, however many entries there are in whatever project. It is a
//     hash index over project and hash: a probe reads two pages where a B-tree over such texts goes down four.
import { createHash } from "node:crypto";
import { byteaArray, textArray } from "../database/binary-array.js";
import { prepared, type Queryable } from "../database/database.js";
import { visibleTo } from "./access.js";

/** A port whose rows might be stored. */
export interface WantedPort {
  globalPortId: string;
  subdagHash: string;
  fingerprintJson: string;
}

/** An entry that stands for a port. */
export interface CachedPort {
  /** The port it stands for; the entry may be of another one. */
  globalPortId: string;
  uri: string;
  tupleCount: bigint;
  byteCount: bigint;
  /** With everything it was made from; 0 when unknown. */
  computeMs: bigint;
  sourceExecutionId: string;
}

/** True when `project` (an expression) shares its cache among its workflows. */
export const isShared = (project: string): string =>
  `coalesce((select policy.shared from cache_policy policy where policy.project_id = ${project}), false)`;

/** Whose results entries are to stand for, as expressions of the statement. */
interface Whose {
  project: string;
  workflow: string;
  /** Whether the project shares its cache. */
  shared: string;
  /** Whose right to read counts for entries of other workflows. */
  subject: string;
}

/** That the entry `c` is of a project and has the hash of the port `w`: in the words of the index (K3), and exactly. */
export const hasHash = (project: string): string =>
  `c.project_id || ' ' || c.subdag_hash = cast(${project} as text) || ' ' || w.subdag_hash
            and c.project_id = ${project} and c.subdag_hash = w.subdag_hash`;

/** That the entry `c` stands for the port `w` (global_port_id, subdag_hash, fingerprint_check). */
export const standsFor = (whose: Whose): string =>
  `${hasHash(whose.project)} and c.fingerprint_check = w.fingerprint_check
            and case when c.workflow_id = ${whose.workflow} then true
                     when ${whose.shared} and c.shareable then ${mayReadWhatIsBehind(whose.subject)}
                     else false end`;

/** The order of entries `c` that stand for one port, the best first. */
export const bestFirst = (whose: Pick<Whose, "workflow">): string =>
  `c.workflow_id = ${whose.workflow} desc, c.global_port_id = w.global_port_id desc,
                   c.updated_at desc, c.workflow_id, c.global_port_id`;

/** The best entry that stands for the port `w`: a subselect of one row or none. */
export const bestEntry = (whose: Whose): string => `(
         select c.result_uri as uri, c.tuple_count, c.byte_count, c.compute_ms, c.source_execution_id
           from cache_entry c
          where ${standsFor(whose)}
          order by ${bestFirst(whose)}
          limit 1)`;

const mayReadWhatIsBehind = (subject: string): string => `not exists (
                       select from unnest(c.dataset_versions) as behind (version)
                         left join dataset d on d.project_id = c.project_id
                          and d.id = cast(split_part(behind.version, '@', 1) as uuid)
                          and ${visibleTo("DATASET", "d").replaceAll(":subject", subject)}
                        where d.id is null)`;

/** Wanted ports as a row source; takes `wantedParams`. */
export const WANTED = `unnest(cast(:globalPortIds as text[]), cast(:subdagHashes as text[]), cast(:checks as bytea[]))
                with ordinality as w (global_port_id, subdag_hash, fingerprint_check, place)`;

export const wantedParams = (ports: readonly WantedPort[]) => ({
  globalPortIds: textArray(ports.map((port) => Buffer.from(port.globalPortId))),
  subdagHashes: textArray(ports.map((port) => Buffer.from(port.subdagHash))),
  checks: byteaArray(ports.map(fingerprintCheck)),
});

/** What the column fingerprint_check holds for a port's entry. */
export const fingerprintCheck = ({ fingerprintJson }: Pick<WantedPort, "fingerprintJson">): Buffer =>
  createHash("sha512").update(fingerprintJson).digest().subarray(0, 16);

const OF_PARAMETERS: Whose = {
  project: ":projectId",
  workflow: ":workflowId",
  shared: "policy.shared",
  subject: ":subject",
};

const FIND = prepared(`with policy as materialized (select ${isShared(":projectId")} as shared)
     select w.global_port_id, hit.* from policy, ${WANTED}
      cross join lateral ${bestEntry(OF_PARAMETERS)} hit`);

/** Entries that stand for these ports, by global port id; nothing is pinned or changed. */
export async function findCachedPorts(
  db: Queryable,
  of: {
    projectId: string;
    workflowId: string;
    /** Whose right to read counts for entries of other workflows. */
    subject: string;
    ports: readonly WantedPort[];
  },
): Promise<Map<string, CachedPort>> {
  const { ports, ...whose } = of;
  if (ports.length === 0) return new Map();
  const rows = await db.query<CachedPort>(FIND, { ...whose, ...wantedParams(ports) });
  return new Map(rows.map((row) => [row.globalPortId, row]));
}
