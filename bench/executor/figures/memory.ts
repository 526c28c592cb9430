// The most memory a real executor process ever had resident while it sorted a file several times as large as its limit,
// user code not being in it. Beside it: a bare process that does the same by hand with the same limit.
import { link as linkFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { CacheMode } from "../../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../../src/rpc/channel.js";
import { completed } from "../../cache/ended.js";
import { PROJECT, startCacheSystem } from "../../cache/system.js";
import { atMost } from "../../figure.js";
import { bareQuery } from "../bare-query.js";
import { peakMegabytes } from "../peak-memory.js";
import { type FigureGroup, THREADS } from "../system.js";

const LIMIT_MB = 256;
/** What a row takes in the file, about. */
const ROW_BYTES = 100;

const WORKFLOW = {
  operators: [
    { id: "large", type: "scan", properties: { dataset: "large" } },
    { id: "some", type: "filter", properties: { predicate: "k % 10 < 9" } },
    { id: "sorted", type: "sort", properties: { by: [{ column: "text" }] }, viewResult: true },
  ],
  links: [
    { from: "large", to: "some" },
    { from: "some", to: "sorted" },
  ],
};

export const memory: FigureGroup = {
  figures: ["memory-1gb-in-256mb"],
  async *measure({ system, scale, note }) {
    const rows = Math.ceil(scale.largeBytes / ROW_BYTES);
    const path = join(system.directory, "large.parquet");
    await system.bare((connection) =>
      connection.run(`COPY (
        SELECT range AS k, md5(range::text) || md5((range + ${rows})::text) AS text, hash(range) / 3.0 AS x, hash(range + 1) / 3.0 AS y
        FROM range(${rows})) TO '${path}' (FORMAT parquet, COMPRESSION uncompressed)`),
    );
    const { size } = await stat(path);
    const yardstick = await bareQuery({
      sql: `COPY (SELECT * FROM read_parquet('${path}') WHERE k % 10 < 9 ORDER BY text, k, x, y) TO '${join(system.directory, "bare.parquet")}' (FORMAT parquet)`,
      memoryLimitMb: LIMIT_MB,
      threads: THREADS,
      directory: system.directory,
    });
    const real = await startCacheSystem(system.options);
    const { datasets, executions } = real.clients;
    const link = join(real.directory, "large.parquet");
    await linkFile(path, link);
    const dataset = {
      requestId: "",
      projectId: PROJECT,
      name: "large",
      uri: pathToFileURL(link).href,
      format: undefined,
    };
    await callUnary(datasets, "registerDataset", dataset, { token: real.userToken });
    await real.putWorkflow("large", WORKFLOW);
    const executor = await real.startExecutor("memory", 1, {
      POSTERN_MEMORY_LIMIT_MB: `${LIMIT_MB}`,
      POSTERN_THREADS: `${THREADS}`,
    });
    const idle = await peakMegabytes(executor.pid);
    const { execution } = await real.prepare("large", { queue: true, cache: CacheMode.CACHE_MODE_SKIP });
    await completed(executions, real.userToken, execution!.id);
    const value = await peakMegabytes(executor.pid);
    await executor.stop();
    note(`memory-1gb-in-256mb: a file of ${Math.round(size / 1e6)} MB; ${Math.round(idle)} MB before any work`);
    yield { figure: "memory-1gb-in-256mb", value, unit: "MB resident", yardstick, bound: atMost(650) };
  },
};
