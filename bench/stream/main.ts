// The bench of the streams.
//
// Real processes: a durable embedded Postgres, servers from dist, loads of their own. Both sides of a ratio take turns;
// medians are compared.
import { asProgram, runGroups } from "../run-groups.js";
import { readArguments, USAGE } from "./arguments.js";
import { commitDelay, durable } from "./figures/durable.js";
import { idle } from "./figures/idle.js";
import { offered, replicas } from "./figures/offered.js";
import { single } from "./figures/single.js";
import { unary } from "./figures/unary.js";
import { startSystem } from "./system.js";

const groups = [durable, single, offered, replicas, unary, idle, commitDelay];

await asProgram(async () => runGroups({ groups, start: startSystem, ...readArguments(process.argv.slice(2)) }), USAGE);
