// Which entries of the port cache stand for which ports.
//
// K1  One entry at most stands for a port: that of the same workflow and port, else of the same workflow, else, where the
//     project shares its cache, a shareable one of any workflow whose datasets the subject may all read.
// K2  Hash and fingerprint both are equal: a collision is a miss (F4). Of the fingerprint its first 16 bytes under another
//     digest are compared, which Postgres makes of the stored JSON (decision 17).
// K3  However many entries there are in whatever project: the workflow's own are found by one scan of the index
//     cache_entry_workflow, where they lie side by side, for all ports; those of other workflows, for ports that are left, by
//     one probe of the index cache_entry_hash each (decision 18).
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

/** A port, and what it is wanted for. */
export interface LookupPort {
  wanted: WantedPort;
  /** Whether an entry may stand for it. */
  looks: boolean;
  /** Whether the execution may compute it for others too. */
  reserves: boolean;
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

/** What the index cache_entry_workflow holds of an entry: one number, so that all of it is looked for, or nothing. */
const indexedAs = (project: string, workflow: string, hash: string): string =>
  `(cast(hashtext(${project} || ' ' || ${workflow}) as bigint) << 32) | (cast(hashtext(${hash}) as bigint) & 4294967295)`;

/**
 * That the entry `e` is of the workflow and has one of the hashes, in the words of the index (K3), and that it is of the
 * workflow exactly: in words of no index, lest Postgres read all entries of a workflow.
 */
const isOwn = ({ project, workflow }: Pick<Whose, "project" | "workflow">): string =>
  `(${indexedAs("e.project_id", "e.workflow_id", "e.subdag_hash")}) = any(array(
                select ${indexedAs(`cast(${project} as text)`, workflow, "wanted.hash")}
                  from unnest(cast(:subdagHashes as text[])) as wanted (hash)))
              and e.project_id is not distinct from ${project} and e.workflow_id is not distinct from ${workflow}`;

/** The order of entries `c` that stand for one port `w`, the best first. */
const bestFirst = ({ workflow }: Pick<Whose, "workflow">): string =>
  `c.workflow_id = ${workflow} desc, c.global_port_id = w.global_port_id desc,
                   c.updated_at desc, c.workflow_id, c.global_port_id`;

/** The best entry that stands for the port `w` (global_port_id, subdag_hash, fingerprint_check): a subselect of one row or none. */
export const bestEntry = (whose: Whose): string => `(
         select c.result_uri as uri, c.tuple_count, c.byte_count, c.compute_ms, c.source_execution_id
           from cache_entry c
          where ${hasHash(whose.project)} and c.fingerprint_check = w.fingerprint_check
            and case when c.workflow_id = ${whose.workflow} then true
                     when ${whose.shared} and c.shareable then ${mayReadWhatIsBehind(whose.subject)}
                     else false end
          order by ${bestFirst(whose)}
          limit 1)`;

/** Of the byte of a port: one for all of them is a fifth of what an array of booleans takes. */
const LOOKS = 1;
const RESERVES = 2;

/**
 * Parts of a statement that end with `hit`: what stands for each wanted port, in rows of place, looks, reserves, the port's
 * columns where the workflow has no entry, and the entry's, or nulls. Takes `wantedParams`.
 *
 * The join is a full one because Postgres does that by hash whatever it guesses of the sizes: of arrays it guesses ten
 * elements, and would compare a thousand ports with a thousand entries. Its rows without a place are entries that stand
 * for none of the ports; `own` is materialized lest they be left out earlier, which would make it a left join.
 */
export const bestEntries = (whose: Whose): string => `own as materialized (
       select distinct on (w.place) cast(w.place as integer) as place, w.flags & ${LOOKS} > 0 as looks,
              w.flags & ${RESERVES} > 0 as reserves,
              case when c.result_uri is null then w.global_port_id end as global_port_id,
              case when c.result_uri is null then w.subdag_hash end as subdag_hash,
              case when c.result_uri is null then w.fingerprint_check end as fingerprint_check,
              c.result_uri as uri, c.tuple_count, c.byte_count, c.compute_ms, c.source_execution_id
         from (
           select *, get_byte(cast(:flags as bytea), cast(place - 1 as integer)) as flags
             from unnest(cast(:globalPortIds as text[]), cast(:subdagHashes as text[]), cast(:checks as bytea[]))
                    with ordinality as wanted (global_port_id, subdag_hash, fingerprint_check, place)) w
         full join (
           select * from cache_entry e where ${isOwn(whose)}) c
           on c.subdag_hash = case when w.flags & ${LOOKS} > 0 then w.subdag_hash end and c.fingerprint_check = w.fingerprint_check
        order by w.place, ${bestFirst(whose)}), lent as materialized (
       select w.place, w.looks, w.reserves, w.global_port_id, w.subdag_hash, w.fingerprint_check, best.*
         from own w left join lateral ${bestEntry(whose)} best on true
        where w.uri is null and w.looks and ${whose.shared}), hit as not materialized (
       select * from own where place is not null and (uri is not null or not looks or not ${whose.shared})
        union all select * from lent)`;

const mayReadWhatIsBehind = (subject: string): string => `not exists (
                       select from unnest(c.dataset_versions) as behind (version)
                         left join dataset d on d.project_id = c.project_id
                          and d.id = cast(split_part(behind.version, '@', 1) as uuid)
                          and ${visibleTo("DATASET", "d").replaceAll(":subject", subject)}
                        where d.id is null)`;

export const wantedParams = (ports: readonly LookupPort[]) => ({
  globalPortIds: textArray(ports.map(({ wanted }) => Buffer.from(wanted.globalPortId))),
  subdagHashes: textArray(ports.map(({ wanted }) => Buffer.from(wanted.subdagHash))),
  checks: byteaArray(ports.map(({ wanted }) => fingerprintCheck(wanted))),
  flags: Buffer.from(ports.map(({ looks, reserves }) => (looks ? LOOKS : 0) | (reserves ? RESERVES : 0))),
});

/** Ports that are only looked for. */
export const onlyLooks = (ports: readonly WantedPort[]): LookupPort[] =>
  ports.map((wanted) => ({ wanted, looks: true, reserves: false }));

/** What the column fingerprint_check holds for a port's entry. */
export const fingerprintCheck = ({ fingerprintJson }: Pick<WantedPort, "fingerprintJson">): Buffer =>
  createHash("sha512").update(fingerprintJson).digest().subarray(0, 16);

const FIND = prepared(`
     with ${bestEntries({
       project: ":projectId",
       workflow: ":workflowId",
       shared: `(select ${isShared(":projectId")})`,
       subject: ":subject",
     })}
     select place, uri, tuple_count, byte_count, compute_ms, source_execution_id from hit where uri is not null`);

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
  return byPort(ports, await db.query<PlacedEntry>(FIND, { ...whose, ...wantedParams(onlyLooks(ports)) }));
}

/** An entry, and which of the wanted ports it stands for, counted from 1. */
export interface PlacedEntry extends Omit<CachedPort, "globalPortId"> {
  place: number;
}

export const byPort = (ports: readonly WantedPort[], rows: readonly PlacedEntry[]): Map<string, CachedPort> =>
  new Map(
    rows.map(({ place, uri, tupleCount, byteCount, computeMs, sourceExecutionId }) => {
      const { globalPortId } = ports[place - 1]!;
      return [globalPortId, { globalPortId, uri, tupleCount, byteCount, computeMs, sourceExecutionId }];
    }),
  );
