// The bench of the executor: relational work and orders in this process, memory in one of its own.
import { asProgram, runGroups } from "../run-groups.js";
import { readArguments, USAGE } from "./arguments.js";
import { memory } from "./figures/memory.js";
import { pause } from "./figures/pause.js";
import { relational } from "./figures/relational.js";
import { start } from "./figures/start.js";
import { userCode } from "./figures/user-code.js";
import { startExecutorSystem } from "./system.js";

const groups = [start, pause, relational, userCode, memory];

await asProgram(
  async () => runGroups({ groups, start: startExecutorSystem, ...readArguments(process.argv.slice(2)) }),
  USAGE,
);
