// Writes the tables of docs/texera.md from the rules of the import, or with --check says whether they are up to date.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { firstDifference } from "./first-difference.js";
import { withImportTables } from "./texera-tables.js";

const file = fileURLToPath(new URL("../../docs/texera.md", import.meta.url));

const written = await readFile(file, "utf8");
const fresh = withImportTables(written);
if (!process.argv.includes("--check")) await writeFile(file, fresh);
else if (written !== fresh) {
  console.error(
    `docs/texera.md is out of date: run \`make operators\`. First difference in ${firstDifference(written, fresh)}`,
  );
  process.exitCode = 1;
}
