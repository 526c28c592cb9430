// `postern dev`: the development stack in the foreground, until Ctrl-C.
import { isAbsolute, resolve } from "node:path";
import type { Command } from "commander";
import type { DevOptions } from "../dev/main.js";
import { type Cli, examples, optionsOf, several, wholeNumber } from "./command.js";
import { directoryOf } from "./connection.js";
import { print, printJsonLine } from "./output.js";
import { Interrupted, interruptSignal } from "./terminal.js";

interface Options {
  executors: number;
  listen: string;
  datasetRoot?: string[];
}

export function addDevCommand(program: Command, cli: Cli): void {
  program
    .command("dev")
    .description("start Postgres, a server and executors on this machine, until Ctrl-C")
    .option("--executors <n>", "how many executors", wholeNumber(0, 16), 1)
    .option("--listen <host:port>", "where the server listens; port 0 for any free one", "127.0.0.1:7700")
    .option("--dataset-root <dir>", "directory whose files may be registered in place (repeatable)", several)
    .addHelpText("after", examples("postern dev", "postern dev --dir /tmp/try --listen 127.0.0.1:0 --executors 2"))
    .action(async (_, command: Command) => {
      const { terminal } = cli;
      const options = optionsOf<Options>(command);
      const { main } = await import("../dev/main.js");
      const { signal, release } = interruptSignal(terminal);
      const say: DevOptions["say"] = options.json
        ? (line) => void terminal.err.write(`${line}\n`)
        : (line) => print(terminal, line);
      try {
        await main({
          dir: directoryOf(options, terminal),
          executors: options.executors,
          listen: options.listen,
          datasetRoots: (options.datasetRoot ?? []).map((dir) => (isAbsolute(dir) ? dir : resolve(terminal.cwd, dir))),
          isDefaultDir: directoryOf(options, terminal) === directoryOf({}, { ...terminal, env: {} }),
          signal,
          say,
          onReady: (stack) => {
            if (options.json) printJsonLine(terminal, describeStack(stack));
          },
        });
      } catch (error) {
        // Ctrl-C while it was starting: everything has been stopped again.
        if (error instanceof Interrupted || (signal.aborted && error === signal.reason))
          say("stopped; no process is left");
        else if (!signal.aborted) throw error;
        else say(`stopped while starting (${(error as Error).message})`);
      } finally {
        release();
      }
    });
}

function describeStack(stack: Parameters<NonNullable<DevOptions["onReady"]>>[0]) {
  return {
    ready: true,
    dir: stack.dir,
    address: stack.address,
    pids: {
      postgres: stack.database.pid,
      server: stack.server.pid,
      executors: stack.executors.map(({ pid }) => pid),
    },
  };
}
