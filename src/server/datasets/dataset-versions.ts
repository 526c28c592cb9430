// Versions of datasets: how a file becomes the next one, and what a reference means.
import type { DatasetVersion } from "../../contract/postern/v1/dataset.js";
import { AppError } from "../../core/app-error.js";
import { digestOf } from "../../core/canonical-json.js";
import { type FoundDataset, parseDatasetReference } from "../../core/dataset-reference.js";
import { newDatasetId } from "../../core/ids.js";
import { fileFormatToWire, schemaToWire } from "../../rpc/plan-codec.js";
import { requireUser } from "../access/authorization.js";
import type { Caller } from "../access/caller.js";
import type { Queryable } from "../database/database.js";
import {
  addDatasetVersion,
  type DatasetVersionRow,
  datasetVersion,
  lockDataset,
  relocateDatasetVersion,
  visibleDatasetVersion,
} from "../repositories/datasets.js";
import { type InspectedFile, isUnchanged, uriOf } from "./dataset-files.js";

/** Where a file lies for good; uploads are put there only now, when their dataset's id is known. */
export interface Placement {
  path: string;
  modifiedAt: Date;
  /** Takes the file away again when its version could not be stored. */
  undo(): Promise<void>;
}

export interface NewVersion {
  projectId: string;
  name: string;
  createdBy: string;
  file: InspectedFile;
  place(datasetId: string): Promise<Placement>;
}

/**
 * Stores a file as the next version of a dataset, and the dataset when it is new. When the newest version holds the
 * same bytes, read the same way, there is no new one; but when its file is gone or was touched, it lies here from now.
 */
export async function putDatasetVersion(
  tx: Queryable,
  { projectId, name, createdBy, file, place }: NewVersion,
): Promise<{ version: DatasetVersion; created: boolean }> {
  const { id } = await lockDataset(tx, { newId: newDatasetId(), projectId, name, createdBy });
  const newest = await datasetVersion(tx, { projectId, name, version: 0 });
  const same =
    newest &&
    newest.contentHash === file.contentHash &&
    digestOf(fileFormatToWire(newest.format)) === digestOf(fileFormatToWire(file.format));
  if (same && (await isUnchanged(newest))) return { version: versionToWire(newest), created: false };

  const { path, modifiedAt, undo } = await place(id);
  try {
    const place = { datasetId: id, uri: uriOf(path), modifiedAt };
    if (same) {
      await relocateDatasetVersion(tx, { ...place, version: newest.version });
      return { version: versionToWire({ ...newest, uri: place.uri }), created: false };
    }
    const { contentHash, format, schema, rowCount, malformedRowCount, byteCount } = file;
    const version = { ...place, contentHash, format, schema, rowCount, malformedRowCount, byteCount, createdBy };
    return { version: versionToWire(await addDatasetVersion(tx, version)), created: true };
  } catch (error) {
    await undo();
    throw error;
  }
}

/** The version a reference means to this caller; undefined alike for what is absent, forbidden or no reference. */
export async function findDatasetVersion(
  db: Queryable,
  caller: Caller,
  projectId: string,
  reference: string,
): Promise<DatasetVersionRow | undefined> {
  const { subject } = requireUser(caller);
  const parsed = parseDatasetReference(reference, projectId);
  return parsed && visibleDatasetVersion(db, { ...parsed, subject });
}

/**
 * What a plan pins of a dataset: `findDatasetVersion`, and the file still is what was registered. Refuses with
 * DATASET_CHANGED when it is not.
 */
export async function resolveDataset(
  db: Queryable,
  caller: Caller,
  projectId: string,
  reference: string,
): Promise<FoundDataset | undefined> {
  const found = await findDatasetVersion(db, caller, projectId, reference);
  if (!found) return undefined;
  if (!(await isUnchanged(found)))
    throw new AppError(
      "precondition",
      "DATASET_CHANGED",
      `The file of dataset ${JSON.stringify(found.datasetName)}, version ${found.version}, is gone or has changed since it was registered; register it again.`,
    );
  const { datasetId, datasetName, version, contentHash, uri, format, rowCount, byteCount, schema } = found;
  const { malformedRowCount } = found;
  const { kind, delimiter, header, encoding } = format; // a header that is not known is not in the JSON
  const stored = { kind, delimiter, header, encoding };
  const file = { datasetId, datasetName, version, contentHash, uri, format: stored, rowCount, byteCount };
  return { ...file, fileSchema: schema, offset: 0n, limit: undefined, malformedRows: "fail", malformedRowCount };
}

export const versionToWire = (row: DatasetVersionRow): DatasetVersion => ({
  datasetId: row.datasetId,
  datasetName: row.datasetName,
  version: row.version,
  contentHash: row.contentHash,
  uri: row.uri,
  format: fileFormatToWire(row.format),
  schema: schemaToWire(row.schema),
  rowCount: row.rowCount,
  malformedRowCount: row.malformedRowCount,
  byteCount: row.byteCount,
  createdBy: row.createdBy,
  createdAt: row.createdAt,
});
