// Which release this is: the version in the project's package.json, above the sources and above a build alike.
import { readFileSync } from "node:fs";

/** For example "0.1.0". */
export function release(): string {
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8")) as {
        name?: string;
        version?: string;
      };
      if (name === "postern" && version) return version;
    } catch {
      // A build lies one folder deeper than the sources: the next one up has it.
    }
  }
  throw new Error("Postern's package.json is missing; install it again.");
}
