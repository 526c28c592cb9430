// Files of the repository that a program makes and people commit: written, or with --check only compared.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export interface MadeFile {
  /** From the top of the repository. */
  path: string;
  /** What makes it, as people type it. */
  command: string;
  /** What it is to hold; told what it holds now, empty when there is none. */
  content(written: string): string | Promise<string>;
}

/** Writes the file; when the program was given --check says instead whether it is up to date, and how it is not. */
export async function writeOrCheck({ path, command, content }: MadeFile): Promise<void> {
  const file = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  const written = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const fresh = await content(written);
  if (!process.argv.includes("--check")) await writeFile(file, fresh);
  else if (written !== fresh) {
    console.error(`${path} is out of date: run \`${command}\`. First difference in ${firstDifference(written, fresh)}`);
    process.exitCode = 1;
  }
}

/** The first line in which they differ, for a hint. */
function firstDifference(written: string, fresh: string): string {
  const [before, after] = [written.split("\n"), fresh.split("\n")];
  const at = after.findIndex((line, index) => line !== before[index]);
  const line = at < 0 ? after.length : at;
  return `line ${line + 1}\n- ${before[line] ?? "(end)"}\n+ ${after[line] ?? "(end)"}`;
}
