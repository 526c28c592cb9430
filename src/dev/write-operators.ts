// Writes docs/operators.md from the definitions of the operators, or with --check says whether it is up to date.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { OPERATOR_TYPES } from "../core/operators/catalogue.js";
import { firstDifference } from "./first-difference.js";
import { operatorsPage } from "./operators-page.js";

const file = fileURLToPath(new URL("../../docs/operators.md", import.meta.url));

const fresh = operatorsPage([...OPERATOR_TYPES.values()]);
if (process.argv.includes("--check")) {
  const written = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  if (written !== fresh) {
    console.error(
      `docs/operators.md is out of date: run \`make operators\`. First difference in ${firstDifference(written, fresh)}`,
    );
    process.exitCode = 1;
  }
} else {
  await writeFile(file, fresh);
}
