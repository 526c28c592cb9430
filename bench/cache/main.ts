// The bench of the port cache: real processes, a durable embedded Postgres, servers and executors from dist.
import { asProgram, runGroups } from "../run-groups.js";
import { readArguments, USAGE } from "./arguments.js";
import { lookup } from "./figures/lookup.js";
import { rerun } from "./figures/rerun.js";
import { shared } from "./figures/shared.js";
import { startCacheSystem } from "./system.js";

const groups = [rerun, shared, lookup];

await asProgram(
  async () => runGroups({ groups, start: startCacheSystem, ...readArguments(process.argv.slice(2)) }),
  USAGE,
);
