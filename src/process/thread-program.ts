// Programs for threads, whether the sources run as they are or compiled.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** A thread has no loader for TypeScript of its own: where sources are run as they are, it takes one up first. */
export function threadProgram(program: URL): URL {
  if (!program.pathname.endsWith(".ts")) return program;
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx/package.json"));
  const loader = new URL("dist/esm/api/index.mjs", tsx).href;
  const start = `(await import(${JSON.stringify(loader)})).register(); await import(${JSON.stringify(program.href)});`;
  return new URL(`data:text/javascript,${encodeURIComponent(start)}`);
}
