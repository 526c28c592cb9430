// The rules as tables of docs/texera.md: what follows its marker.
import { IMPORT_FAMILIES } from "../core/texera/import-rules.js";

/** What follows in the file is written from the rules. */
const MARKER = "<!-- written by `make operators` from src/core/texera -->";

/** The file's text with fresh tables. */
export function withImportTables(written: string): string {
  const [head] = written.split(MARKER);
  return `${head!.trimEnd()}\n\n${MARKER}\n\n${importTables()}\n`;
}

/** Markdown: a table for each family, and below it what behaves otherwise. */
function importTables(): string {
  return IMPORT_FAMILIES.map(({ title, rules }) => {
    const notes = [...new Set(rules.flatMap(({ differences }) => differences))];
    const numbers = (differences: readonly string[]) => differences.map((one) => notes.indexOf(one) + 1).join(", ");
    const rows = rules.map(
      ({ types, uses, summary, differences }) =>
        `| ${types.map(code).join(", ")} | ${uses.map(code).join(", ")} | ${summary} | ${numbers(differences)} |`,
    );
    const table = ["| in Texera | here | how | notes |", "|---|---|---|---|", ...rows].join("\n");
    const list = notes.map((note, i) => `${i + 1}. ${note}`).join("\n");
    return [`### ${title}`, table, ...(list === "" ? [] : [list])].join("\n\n");
  }).join("\n\n");
}

const code = (text: string): string => `\`${text}\``;
