// Datasets: put (upload, or register a file the server reads in place) and list.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Command, Option } from "commander";
import {
  Dataset,
  DatasetVersion,
  type UploadDatasetRequest,
  type UploadDatasetResponse,
  type UploadHeader,
} from "../contract/postern/v1/dataset.js";
import { FileFormat, FileFormat_Kind } from "../contract/postern/v1/plan.js";
import { invalid } from "../core/app-error.js";
import { ENCODINGS, type Encoding } from "../core/plan.js";
import { attributeTypeFromWire } from "../rpc/plan-codec.js";
import type { Api } from "./api.js";
import { clientStream } from "./client-stream.js";
import { type Cli, examples, withServer } from "./command.js";
import type { GlobalOptions } from "./connection.js";
import { printEither } from "./output.js";
import { allPages } from "./pages.js";
import { bytes, count, counted, instant } from "./text.js";

interface PutOptions {
  inPlace?: boolean;
  format?: keyof typeof KINDS;
  delimiter?: string;
  header?: boolean;
  encoding?: Encoding;
}

const KINDS = { csv: FileFormat_Kind.KIND_CSV, json: FileFormat_Kind.KIND_JSON, parquet: FileFormat_Kind.KIND_PARQUET };

export function addDatasetCommands(program: Command, cli: Cli): void {
  const { terminal } = cli;
  const dataset = program.command("dataset").description("registered inputs and their versions");
  dataset.addHelpText("after", examples("postern dataset list", "postern dataset put airports airports.csv"));
  dataset
    .command("put <name> <file>")
    .description("upload a CSV, JSON or Parquet file as the next version of a dataset")
    .option("--in-place", "let the server read the file where it is (below one of its dataset roots)")
    .addOption(
      new Option("--format <kind>", "how to read it (default: by the file's name)").choices(Object.keys(KINDS)),
    )
    .option("--delimiter <character>", "CSV: what stands between fields (default: found out)")
    .option("--header", "CSV: the first line names the columns (default: found out)")
    .option("--no-header", "CSV: the first line is data")
    .addOption(
      new Option("--encoding <name>", "CSV: how its characters are written (default: utf-8)").choices(ENCODINGS),
    )
    .addHelpText(
      "after",
      examples("postern dataset put airports airports.csv", "postern dataset put flights f.parquet"),
    )
    .action(
      withServer<PutOptions, [string, string]>(cli, async (api, options, name, path) => {
        const { version, created } = await putDataset(api, name, resolve(terminal.cwd, path), options);
        printEither(
          terminal,
          options,
          () => ({ version: DatasetVersion.toJSON(version), created }),
          () =>
            `${describeVersion(version)} ${created ? "stored" : "was stored already"}\n${aboutMalformed(version)}` +
            (version.schema?.attributes ?? [])
              .map(({ name: column, type }) => `  ${column}: ${attributeTypeFromWire(type)}`)
              .join("\n"),
        );
      }),
    );
  dataset
    .command("list [name]")
    .description("list the datasets of the project, or the versions of one")
    .addHelpText("after", examples("postern dataset list", "postern dataset list flights"))
    .action(
      withServer<object, [string | undefined]>(cli, (api, options, name) =>
        name === undefined ? listDatasets(cli, api, options) : listVersions(cli, api, options, name),
      ),
    );
}

async function listDatasets({ terminal }: Cli, api: Api, options: GlobalOptions): Promise<void> {
  const projectId = api.connection.project();
  const datasets = await allPages(async (pageToken) => {
    const reply = await api.call(api.datasets, "listDatasets", { projectId, pageSize: 500, pageToken });
    return { items: reply.datasets, nextPageToken: reply.nextPageToken };
  });
  printEither(
    terminal,
    options,
    () => ({ datasets: datasets.map(Dataset.toJSON) }),
    () =>
      datasets.length === 0
        ? "No datasets yet: store one with `postern dataset put NAME FILE`."
        : {
            head: ["DATASET", "VERSION", "PUBLIC", "MADE BY", "MADE AT (UTC)"],
            right: [false, true],
            rows: datasets.map((d) => [
              d.name,
              `${d.latestVersion}`,
              d.public ? "yes" : "no",
              d.createdBy,
              instant(d.createdAt),
            ]),
          },
  );
}

async function listVersions({ terminal }: Cli, api: Api, options: GlobalOptions, name: string): Promise<void> {
  const projectId = api.connection.project();
  const versions = await allPages(async (pageToken) => {
    const reply = await api.call(api.datasets, "listDatasetVersions", { projectId, name, pageSize: 500, pageToken });
    return { items: reply.versions, nextPageToken: reply.nextPageToken };
  });
  printEither(
    terminal,
    options,
    () => ({ versions: versions.map(DatasetVersion.toJSON) }),
    () => ({
      head: ["VERSION", "ROWS", "MALFORMED", "SIZE", "COLUMNS", "CONTENT", "MADE AT (UTC)"],
      right: [true, true, true, true, true],
      rows: versions.map((v) => [
        `${v.version}`,
        count(v.rowCount),
        count(v.malformedRowCount),
        bytes(v.byteCount),
        `${v.schema?.attributes.length ?? 0}`,
        v.contentHash.slice(0, 12),
        instant(v.createdAt),
      ]),
    }),
  );
}

/** One line about a dataset version. */
export const describeVersion = (v: DatasetVersion): string =>
  `${v.datasetName} version ${v.version}: ${counted(v.rowCount, "row")}, ${bytes(v.byteCount)}`;

const aboutMalformed = ({ malformedRowCount: malformed }: DatasetVersion): string =>
  malformed === 0n
    ? ""
    : `  ${counted(malformed, "malformed row")}: a scan fails at ${malformed === 1n ? "it" : "the first"}, or leaves ${malformed === 1n ? "it" : "them"} out with "malformedRows": "skip"\n`;

/** Registers or uploads a file; `path` is absolute. */
export async function putDataset(
  api: Api,
  name: string,
  path: string,
  options: PutOptions,
): Promise<{ version: DatasetVersion; created: boolean }> {
  const projectId = api.connection.project();
  const byteCount = await fileSize(path);
  const format = formatOf(options);
  const { version, created } = options.inPlace
    ? await api.call(
        api.datasets,
        "registerDataset",
        { requestId: "", projectId, name, uri: pathToFileURL(path).href, format },
        { deadlineMs: 600_000 },
      )
    : await clientStream<UploadDatasetRequest, UploadDatasetResponse>(
        (metadata, done) => api.datasets.uploadDataset(metadata, done),
        uploadOf(path, { projectId, name, fileName: basename(path), format, byteCount }),
        api.connection,
      );
  return { version: version ?? DatasetVersion.create({ datasetName: name }), created };
}

async function* uploadOf(path: string, header: UploadHeader): AsyncGenerator<UploadDatasetRequest> {
  yield { piece: { $case: "header", value: header } };
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 }))
    yield { piece: { $case: "chunk", value: chunk as Buffer } };
}

function formatOf({ format, delimiter, header, encoding }: PutOptions): FileFormat | undefined {
  if ([format, delimiter, header, encoding].every((wish) => wish === undefined)) return undefined;
  const kind = format ? KINDS[format] : FileFormat_Kind.KIND_UNSPECIFIED;
  return FileFormat.create({ kind, delimiter, header, encoding });
}

async function fileSize(path: string): Promise<bigint> {
  const found = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw invalid(`There is no file ${path}: check the path.`);
    throw invalid(`${path} cannot be read (${error.code}): check its permissions.`);
  });
  if (!found.isFile()) throw invalid(`${path} is no file: name one CSV, JSON or Parquet file.`);
  return found.size;
}
