// Files that come with Postern, found from the sources and from dist alike.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AppError } from "../core/app-error.js";

/** The directory that holds package.json, examples/ and proto/. */
export function packageRoot(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let dir = here; dir !== dirname(dir); dir = dirname(dir)) if (existsSync(join(dir, "package.json"))) return dir;
  throw new AppError("internal", "INCOMPLETE", `No package.json above ${here}: install Postern again.`);
}

/** The data directory of the npm package with real public datasets. */
export function publicDatasets(): string {
  const directories = createRequire(import.meta.url).resolve.paths("vega-datasets") ?? [];
  const found = directories.map((dir) => join(dir, "vega-datasets", "data")).find((dir) => existsSync(dir));
  if (found) return found;
  throw new AppError(
    "invalid",
    "NO_PUBLIC_DATASETS",
    "The package vega-datasets is not installed: run npm ci, with development dependencies, in Postern's directory.",
  );
}
