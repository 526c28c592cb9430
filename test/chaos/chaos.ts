// `make chaos`: one run by the words of the command line. Progress goes to standard error, the result is the last line of
// standard output, and the exit status is 0 only when nothing was lost, doubled or out of order and everything ended.
import { AppError } from "../../src/core/app-error.js";
import { chaosOptions } from "./chaos-options.js";
import { runChaos } from "./chaos-run.js";
import { buildFor } from "./sabotage.js";

const began = Date.now();
const say = (line: string) =>
  process.stderr.write(`${((Date.now() - began) / 1_000).toFixed(1).padStart(6)}  ${line}\n`);
// Ends at once; what was started is ended on exit.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

try {
  const options = chaosOptions(process.argv.slice(2));
  const build = await buildFor(options);
  const result = await runChaos({ ...options, build, say });
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = result.ok ? 0 : 1;
} catch (error) {
  if (!(error instanceof AppError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
