#!/usr/bin/env node
import { existsSync } from "node:fs";

const program = new URL("../dist/src/cli/main.js", import.meta.url);
if (existsSync(program)) await import(program.href);
else {
  process.stderr.write("postern has not been built yet: run make build first.\n");
  process.exitCode = 2;
}
