// Builds that are broken in exactly one way, so that the kit is seen to find it: a copy of the build with single places of
// compiled modules replaced. The product itself has no switch for any of this.
//
// B1  A place that is not found exactly once is an error: a sabotage that does nothing would prove nothing.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { ChaosOptions, Sabotage } from "./chaos-options.js";
import { PATCHES } from "./sabotage/patches.js";

/** One place of a compiled module, or all of it. `file` is below the build. */
export type Patch =
  | { file: string; find: string; replace: string }
  /** A file beside the patches. */
  | { file: string; replaceBy: string };

/** The build a run needs: the one named, or a broken copy of it. */
export async function buildFor({ sabotage, build }: Pick<ChaosOptions, "sabotage" | "build">): Promise<string> {
  return sabotage ? sabotagedBuild(resolve(build), sabotage) : resolve(build);
}

/** Makes the broken copy anew; returns where it is. */
export async function sabotagedBuild(build: string, mode: Sabotage): Promise<string> {
  // Beside the build's project, so that it finds the same packages.
  const folder = resolve(build, "../.build/sabotage");
  const copy = join(folder, mode);
  await rm(copy, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await cp(build, copy, { recursive: true });
  await cp(resolve(build, "../package.json"), join(folder, "package.json"));
  for (const patch of PATCHES[mode]) await applyPatch(copy, patch);
  return copy;
}

async function applyPatch(copy: string, patch: Patch): Promise<void> {
  const path = join(copy, patch.file);
  const text = await readFile(path, "utf8");
  if ("replaceBy" in patch) {
    await writeFile(path, await readFile(new URL(`./sabotage/${patch.replaceBy}`, import.meta.url), "utf8"));
    return;
  }
  const parts = text.split(patch.find);
  if (parts.length !== 2)
    throw new Error(
      `The place to break in ${patch.file} is there ${parts.length - 1} times instead of once; ` +
        `mend test/chaos/sabotage/patches.ts:\n${patch.find}`,
    );
  await writeFile(path, parts.join(patch.replace));
}
