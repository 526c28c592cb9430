// The command line as a program of its own: this file runs when it is imported.
import { runCli } from "./program.js";
import { processTerminal } from "./terminal.js";

// A reader that has enough (`postern show … | head`) is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await runCli(process.argv.slice(2), processTerminal());
