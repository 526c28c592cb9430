// DatasetService: registered inputs, their versions and schemas.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type DatasetServiceServer,
  RegisterDatasetRequest,
  RegisterDatasetResponse,
  type UploadDatasetRequest,
  type UploadHeader,
} from "../../contract/postern/v1/dataset.js";
import { FileFormat_Kind, type FileFormat as WireFileFormat } from "../../contract/postern/v1/plan.js";
import { invalid, notFound } from "../../core/app-error.js";
import { parseDatasetReference } from "../../core/dataset-reference.js";
import { type FormatWish, formatOfFile, NO_WISH, storedEnding } from "../../core/file-format.js";
import { datasetName, projectId } from "../../core/ids.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { encodingOf, fileFormatFromWire } from "../../rpc/plan-codec.js";
import { requireResource, requireUser, requireWriteOrCreate, visibleProject } from "../access/authorization.js";
import type { CallContext } from "../access/caller.js";
import type { Database } from "../database/database.js";
import { inspectFile, receiveUpload, registrablePath, tooLarge, type Upload } from "../datasets/dataset-files.js";
import { findDatasetVersion, putDatasetVersion, versionToWire } from "../datasets/dataset-versions.js";
import { cutPage, nameAfter, versionBefore } from "../page-tokens.js";
import { datasetVersions, visibleDatasets } from "../repositories/datasets.js";
import { pageSize } from "../request-fields.js";
import { replayable, storedReply } from "../request-replies.js";

export { resolveDataset } from "../datasets/dataset-versions.js";

interface Deps {
  db: Database;
  /** Directories whose files may be registered in place. */
  datasetRoots: readonly string[];
  /** `file://` and an absolute path. Uploads lie in `<this>/datasets/<project>/<dataset id>/<content hash>.<ending>`. */
  resultRoot: string;
  maxUploadBytes: number;
}

export function datasetService({
  db,
  datasetRoots,
  resultRoot,
  maxUploadBytes,
}: Deps): ServiceMethods<DatasetServiceServer, CallContext> {
  const uploadDirectory = join(fileURLToPath(resultRoot), "datasets");
  return {
    async registerDataset(request, { caller, signal }) {
      const { subject } = requireUser(caller);
      const id = { projectId: projectId(request.projectId), name: datasetName(request.name) };
      await requireWriteOrCreate(db, caller, resource(id));
      const call = {
        subject,
        projectId: id.projectId,
        requestId: request.requestId,
        method: "RegisterDataset",
        request,
        requestType: RegisterDatasetRequest,
        replyType: RegisterDatasetResponse,
      };
      const stored = await storedReply(db, call);
      if (stored) return stored;
      const path = await registrablePath(request.uri, datasetRoots);
      const file = await inspectFile(path, formatOfFile(path, wishOf(request.format)), signal);
      const place = async () => ({ path, modifiedAt: file.modifiedAt, undo: async () => {} });
      return replayable(db, call, (tx) => putDatasetVersion(tx, { ...id, createdBy: subject, file, place }));
    },

    async uploadDataset(requests, { caller, signal }) {
      const { subject } = requireUser(caller);
      const { header, chunks } = await openUpload(requests);
      const id = { projectId: projectId(header.projectId), name: datasetName(header.name) };
      await requireWriteOrCreate(db, caller, resource(id));
      const byteCount = announcedBytes(header, maxUploadBytes);
      const wish = formatOfFile(header.fileName, wishOf(header.format));
      const ending = storedEnding(header.fileName, wish);
      const directory = join(uploadDirectory, id.projectId);
      const upload = await receiveUpload(chunks, { directory, ending, byteCount });
      try {
        const file = await inspectFile(upload.path, wish, signal);
        const place = (dataset: string) => keep(upload, dataset, `${file.contentHash}.${ending}`);
        return await db.transaction((tx) => putDatasetVersion(tx, { ...id, createdBy: subject, file, place }));
      } finally {
        await upload.discard();
      }
    },

    async listDatasets(request, { caller }) {
      const project = projectId(request.projectId);
      const size = pageSize(request.pageSize);
      const after = nameAfter("datasets", request.pageToken);
      const { subject } = await visibleProject(db, caller, project);
      const rows = await visibleDatasets(db, { projectId: project, subject, after, limit: size + 1 });
      const { items, nextPageToken } = cutPage("datasets", rows, size, ({ name }) => name);
      return { datasets: items, nextPageToken };
    },

    async listDatasetVersions(request, { caller }) {
      const id = { projectId: projectId(request.projectId), name: datasetName(request.name) };
      const size = pageSize(request.pageSize);
      const before = versionBefore("dataset-versions", request.pageToken);
      await requireResource(db, caller, resource(id), "READ");
      const rows = await datasetVersions(db, { ...id, before, limit: size + 1 });
      const { items, nextPageToken } = cutPage("dataset-versions", rows, size, ({ version }) => version);
      return { versions: items.map(versionToWire), nextPageToken };
    },

    async resolveDataset(request, { caller }) {
      const project = projectId(request.projectId);
      const { reference } = request;
      if (!parseDatasetReference(reference, project))
        throw invalid(
          `${JSON.stringify(reference.slice(0, 300))} names no dataset; write "name", "name@version" or "project/name@version".`,
        );
      const version = await findDatasetVersion(db, caller, project, reference);
      if (!version) throw notFound(`dataset ${JSON.stringify(reference)}`);
      return { version: versionToWire(version) };
    },
  };
}

const resource = (id: { projectId: string; name: string }) =>
  ({ projectId: id.projectId, kind: "DATASET", id: id.name }) as const;

function wishOf(format: WireFileFormat | undefined): FormatWish {
  if (format === undefined) return NO_WISH;
  const { kind, delimiter, header, encoding } = format;
  return kind === FileFormat_Kind.KIND_UNSPECIFIED
    ? { kind: undefined, delimiter, header, encoding: encodingOf(encoding) }
    : fileFormatFromWire(format);
}

function announcedBytes({ byteCount }: UploadHeader, maxUploadBytes: number): number {
  if (byteCount === undefined || byteCount < 0n)
    throw invalid("The upload's header must tell the file's size, byte_count.");
  if (byteCount > BigInt(maxUploadBytes)) throw tooLarge(maxUploadBytes, byteCount);
  return Number(byteCount);
}

/** Takes the header off an upload; what follows are its bytes. */
async function openUpload(
  requests: AsyncIterable<UploadDatasetRequest>,
): Promise<{ header: UploadHeader; chunks: AsyncIterable<Buffer> }> {
  const pieces = requests[Symbol.asyncIterator]();
  const first = await pieces.next();
  const piece = first.done ? undefined : first.value.piece;
  if (piece?.$case !== "header") throw invalid("An upload begins with its header; send it as the first message.");
  async function* chunks() {
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
      const { piece } = next.value;
      if (piece?.$case !== "chunk") throw invalid("After its header an upload holds chunks only; send nothing else.");
      yield piece.value;
    }
  }
  return { header: piece.value, chunks: chunks() };
}

async function keep(upload: Upload, dataset: string, name: string) {
  const { path, isNew } = await upload.keepAs(dataset, name);
  const { mtime } = await stat(path);
  return { path, modifiedAt: mtime, undo: async () => (isNew ? upload.takeBack(path) : undefined) };
}
