// Datasets and their versions: everything that can happen to those rows, one statement each.
import type { FileFormat, Schema } from "../../core/plan.js";
import type { Queryable } from "../database/database.js";
import { visibleTo } from "./access.js";

export interface DatasetRow {
  id: string;
  projectId: string;
  name: string;
  latestVersion: number;
  public: boolean;
  createdBy: string;
  createdAt: Date;
}

export interface DatasetVersionRow {
  datasetId: string;
  datasetName: string;
  version: number;
  contentHash: string;
  uri: string;
  format: FileFormat;
  schema: Schema;
  rowCount: bigint;
  malformedRowCount: bigint;
  byteCount: bigint;
  /** Modification time of the file when it was hashed. */
  modifiedAt: Date;
  createdBy: string;
  createdAt: Date;
}

// Versions stored before there were encodings name none.
const VERSION_COLUMNS = `v.dataset_id, d.name as dataset_name, v.version, v.content_hash, v.uri,
       jsonb_build_object('encoding', '') || v.format as format, v.schema,
       v.row_count, v.malformed_row_count, v.byte_count, v.modified_at, v.created_by, v.created_at`;

/**
 * Makes the dataset (with `newId`) when its name is new and takes its row lock either way, so that versions are
 * numbered one at a time. A new dataset has version 0 until `addDatasetVersion` in the same transaction.
 */
export async function lockDataset(
  tx: Queryable,
  dataset: { newId: string; projectId: string; name: string; createdBy: string },
): Promise<{ id: string }> {
  const [row] = await tx.query<{ id: string }>(
    `insert into dataset (id, project_id, name, latest_version, created_by)
     values (:newId, :projectId, :name, 0, :createdBy)
     on conflict (project_id, name) do update set latest_version = dataset.latest_version
     returning id`,
    dataset,
  );
  return row!;
}

/** Stores the next version; only after `lockDataset` in the same transaction. */
export async function addDatasetVersion(
  tx: Queryable,
  version: Omit<DatasetVersionRow, "datasetName" | "version" | "createdAt">,
): Promise<DatasetVersionRow> {
  const [row] = await tx.query<DatasetVersionRow>(
    `with d as (
       update dataset set latest_version = latest_version + 1 where id = :datasetId
       returning name, latest_version),
     v as (
       insert into dataset_version (dataset_id, version, content_hash, uri, format, schema, row_count,
         malformed_row_count, byte_count, modified_at, created_by)
       select :datasetId, latest_version, :contentHash, :uri, cast(:format as jsonb), cast(:schema as jsonb),
         cast(:rowCount as bigint), cast(:malformedRowCount as bigint), cast(:byteCount as bigint), :modifiedAt, :createdBy
       from d
       returning *)
     select ${VERSION_COLUMNS} from v cross join d`,
    { ...version, format: JSON.stringify(version.format), schema: JSON.stringify(version.schema) },
  );
  return row!;
}

/** One version by dataset name; version 0 means the newest. Undefined when there is none. */
export async function datasetVersion(
  db: Queryable,
  version: { projectId: string; name: string; version: number },
): Promise<DatasetVersionRow | undefined> {
  const [row] = await db.query<DatasetVersionRow>(
    `select ${VERSION_COLUMNS}
     from dataset d join dataset_version v on v.dataset_id = d.id
       and v.version = coalesce(nullif(cast(:version as integer), 0), d.latest_version)
     where d.project_id = :projectId and d.name = :name`,
    version,
  );
  return row;
}

/** The same, if the subject may read the dataset; undefined alike when it may not and when there is none. */
export async function visibleDatasetVersion(
  db: Queryable,
  version: { projectId: string; name: string; version: number; subject: string },
): Promise<DatasetVersionRow | undefined> {
  const [row] = await db.query<DatasetVersionRow>(
    `select ${VERSION_COLUMNS}
     from dataset d join dataset_version v on v.dataset_id = d.id
       and v.version = coalesce(nullif(cast(:version as integer), 0), d.latest_version)
     where d.project_id = :projectId and d.name = :name and ${visibleTo("DATASET", "d")}`,
    version,
  );
  return row;
}

/** The project's datasets the subject may read whose name comes after `after`, by name. */
export async function visibleDatasets(
  db: Queryable,
  page: { projectId: string; subject: string; after: string; limit: number },
): Promise<DatasetRow[]> {
  return db.query<DatasetRow>(
    `select d.id, d.project_id, d.name, d.latest_version, d.public, d.created_by, d.created_at from dataset d
     where d.project_id = :projectId and d.name > :after and ${visibleTo("DATASET", "d")}
     order by d.name limit :limit`,
    page,
  );
}

/** The versions of a dataset numbered below `before`, newest first. */
export async function datasetVersions(
  db: Queryable,
  page: { projectId: string; name: string; before: number; limit: number },
): Promise<DatasetVersionRow[]> {
  return db.query<DatasetVersionRow>(
    `select ${VERSION_COLUMNS} from dataset d join dataset_version v on v.dataset_id = d.id
     where d.project_id = :projectId and d.name = :name and v.version < :before
     order by v.version desc limit :limit`,
    page,
  );
}

/** Opens or closes a dataset to everybody; false when there is none. `id` is its name. */
export async function setDatasetPublic(
  tx: Queryable,
  dataset: { projectId: string; id: string; public: boolean },
): Promise<boolean> {
  const rows = await tx.query(
    "update dataset set public = :public where project_id = :projectId and name = :id returning id",
    dataset,
  );
  return rows.length > 0;
}

/** Says where the bytes of a version lie now; they are the same bytes. */
export async function relocateDatasetVersion(
  tx: Queryable,
  place: { datasetId: string; version: number; uri: string; modifiedAt: Date },
): Promise<void> {
  await tx.query(
    `update dataset_version set uri = :uri, modified_at = :modifiedAt
     where dataset_id = :datasetId and version = :version`,
    place,
  );
}
