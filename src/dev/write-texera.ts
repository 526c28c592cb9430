// Writes the tables of docs/texera.md from the rules of the import, or with --check says whether they are up to date.
import { writeOrCheck } from "./made-file.js";
import { withImportTables } from "./texera-tables.js";

await writeOrCheck({ path: "docs/texera.md", command: "make operators", content: withImportTables });
