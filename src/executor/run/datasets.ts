// The input files of a run: found, readable, and still what was registered.
import { access, constants, stat } from "node:fs/promises";
import type { DatasetScan, PhysicalOperator, PhysicalPlan } from "../../core/plan.js";
import { inWords, RunFailure } from "./failure.js";
import { localPath } from "./object-store.js";

/** Local file of a dataset; fails with INPUT_UNREADABLE for a place this executor cannot read. */
export function datasetPath(scan: DatasetScan, operatorId: string): string {
  const path = localPath(scan.uri);
  if (path !== undefined) return path;
  throw new RunFailure(
    "INPUT_UNREADABLE",
    `${named(scan)} lies at ${JSON.stringify(scan.uri)}, and this executor reads local files (file://) only; register a local copy.`,
    { operatorId },
  );
}

/** Files the plan scans that this executor could read; for the list of what DuckDB may open. */
export const datasetPaths = (plan: PhysicalPlan): string[] =>
  plan.operators.flatMap(({ implementation }) => {
    const path = implementation.kind === "scan" ? localPath(implementation.scan.uri) : undefined;
    return path === undefined ? [] : [path];
  });

/** Refuses a scan whose file is gone, unreadable or of another size than was registered. */
export async function checkDataset(operator: PhysicalOperator): Promise<void> {
  if (operator.implementation.kind !== "scan") return;
  const { scan } = operator.implementation;
  const { operatorId } = operator;
  const path = datasetPath(scan, operatorId);
  const size = await sizeOf(path).catch((error: unknown) => {
    throw new RunFailure(
      "INPUT_UNREADABLE",
      `${named(scan)} cannot be read from ${path}: ${inWords(error)}; restore the file, or register the dataset again.`,
      { operatorId, cause: error },
    );
  });
  if (scan.byteCount > 0n && size !== scan.byteCount)
    throw new RunFailure(
      "DATASET_CHANGED",
      `${named(scan)} has changed since it was registered (${size} bytes in ${path}, ${scan.byteCount} then); register it again as a new version.`,
      { operatorId },
    );
}

async function sizeOf(path: string): Promise<bigint> {
  await access(path, constants.R_OK);
  return BigInt((await stat(path)).size);
}

const named = ({ datasetName, version }: DatasetScan) => `Dataset ${datasetName || "(unnamed)"} version ${version}`;
