// Finds the PostgreSQL programs that npm installed for this platform and makes them runnable.
//
// npm packages cannot contain symbolic links, so the package lists the ones its libraries need. They are made here
// rather than by an install script: scripts may be switched off. Where node_modules cannot be written, the programs run
// from a copy beside the data directory (a directory of links alone would not do: the programs find their libraries
// relative to their own real path, and macOS ignores library path variables for signed programs).

import { chmod, cp, lstat, mkdtemp, readFile, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";

/** Absolute paths of the programs. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/**
 * The programs of the installed platform package, their library links in place.
 * `copyPrefix` and the version name the copy that is made when the package's own directory cannot be completed.
 */
export async function preparePostgresBinaries(copyPrefix: string): Promise<PostgresBinaries> {
  const { postgres, initdb } = await importPlatformPackage();
  const packageDir = dirname(dirname(dirname(postgres)));
  try {
    await makeLibraryLinks(packageDir);
    return { postgres, initdb };
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  const copyDir = `${copyPrefix}${await packageVersion(packageDir)}`;
  await copyPrograms(packageDir, copyDir).catch((error) => {
    throw explainDiskProblem(error, dirname(copyDir));
  });
  return {
    postgres: join(copyDir, relative(packageDir, postgres)),
    initdb: join(copyDir, relative(packageDir, initdb)),
  };
}

async function importPlatformPackage(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as PostgresBinaries;
  } catch (error) {
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL for this platform (${name}) is not installed. Run \`npm install --include=optional\`, ` +
        "or use a PostgreSQL server of your own.",
      { cause: error },
    );
  }
}

async function packageVersion(packageDir: string): Promise<string> {
  return (JSON.parse(await readFile(join(packageDir, "package.json"), "utf8")) as { version: string }).version;
}

async function makeLibraryLinks(packageDir: string): Promise<void> {
  const links = JSON.parse(await readFile(join(packageDir, "native", "pg-symlinks.json"), "utf8")) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const path = join(packageDir, target);
    // Looked at first: on a read-only file system an existing link would be refused as EROFS and not as EEXIST.
    if (await exists(path)) continue;
    await symlink(relative(dirname(target), source), path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error; // another process made it meanwhile
    });
  }
}

/** Copies the programs once; the copy appears under its final name only when it is complete. */
async function copyPrograms(packageDir: string, copyDir: string): Promise<void> {
  if (await exists(copyDir)) return;
  const unfinished = await mkdtemp(`${copyDir}.`);
  try {
    await chmod(unfinished, 0o755); // as root the server may run under another account
    await cp(join(packageDir, "native"), join(unfinished, "native"), { recursive: true, verbatimSymlinks: true });
    await makeLibraryLinks(unfinished);
    await rename(unfinished, copyDir);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
