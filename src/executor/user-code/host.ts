// What this executor can do with user code, found out once at start: languages, isolation, limits.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Language } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import { RunFailure } from "../run/failure.js";
import { javascriptCommand, pythonCommand } from "./child-command.js";
import { type ChildCommand, endsWell, findProgram, probeSandbox, type Sandbox } from "./sandbox.js";

export interface UserCodeHost {
  sandbox: Sandbox;
  /** Languages of user code this executor runs. */
  languages: Language[];
  /** Everything that shuts user code in, for Hello. */
  layers: string[];
  /** The command line of a child; fails with SANDBOX_UNAVAILABLE when the language cannot be run. */
  commandFor(language: Language, operatorId: string): ChildCommand;
  /** Longest time for one batch. */
  batchMs: number;
  /** Memory user code may use. */
  memoryBytes: number;
}

export interface HostOptions {
  /** Name or path of the interpreter. */
  python: string;
  /** `required` refuses Python where the host isolates nothing: Python itself holds nobody back. */
  policy: "best-effort" | "required";
  /** The executor's own PATH; children get none. */
  path: string | undefined;
  isRoot: boolean;
  memoryBytes: number;
  batchMs?: number;
  log: Logger;
}

const BATCH_MS = 60_000;

export async function findUserCodeHost(options: HostOptions): Promise<UserCodeHost> {
  const javascript = javascriptCommand();
  const program = findProgram(options.python, options.path);
  const interpreter = program && (await realInterpreter(program));
  const python = interpreter ? pythonCommand(interpreter) : undefined;
  const pythonWorks = python !== undefined && (await endsWell(python.command));
  const commands = python && pythonWorks ? [javascript, python] : [javascript];
  const sandbox = await probeSandbox({ path: options.path, isRoot: options.isRoot, commands });
  const refusal = pythonRefusal(options, { found: program !== undefined, works: pythonWorks, sandbox });
  if (!sandbox.isolated || !sandbox.privateFiles)
    options.log.warn(
      { layers: sandbox.layers, policy: options.policy },
      "this host lacks user or mount namespaces: Python user code can read what the executor's user can read",
    );
  return {
    sandbox,
    languages: refusal === undefined ? ["javascript", "python"] : ["javascript"],
    layers: [...sandbox.layers, "empty-environment", "quickjs", "node-permissions", "resource-limits"],
    batchMs: options.batchMs ?? BATCH_MS,
    memoryBytes: options.memoryBytes,
    commandFor(language, operatorId) {
      if (language === "javascript") return javascript;
      if (python && refusal === undefined) return python;
      throw new RunFailure("SANDBOX_UNAVAILABLE", refusal ?? "Python cannot be run.", { operatorId });
    },
  };
}

const WHO =
  "import sys; assert sys.version_info >= (3, 8); print(sys.executable, sys.base_prefix, sys.base_exec_prefix, sep='\\n')";

/** The interpreter behind a launcher such as pyenv's, which would put variables of its own into the environment. */
async function realInterpreter(program: string): Promise<{ executable: string; prefixes: string[] } | undefined> {
  try {
    const { stdout } = await run(program, ["-I", "-S", "-c", WHO], { env: {}, timeout: 10_000 });
    const [executable, ...prefixes] = stdout.trim().split("\n");
    // A prefix such as /usr is the system's own, most of which a child has anyway and the rest of which it must not.
    const own = prefixes.filter((prefix) => !["/", "/usr", "/usr/local"].includes(prefix));
    return executable ? { executable, prefixes: own } : undefined;
  } catch {
    return undefined; // told by `pythonRefusal`
  }
}
const run = promisify(execFile);

function pythonRefusal(
  { python, policy }: HostOptions,
  { found, works, sandbox }: { found: boolean; works: boolean; sandbox: Sandbox },
): string | undefined {
  if (!found) return `This executor finds no ${python}; install Python 3, or set POSTERN_PYTHON to its path.`;
  if (!works)
    return `${python} on this executor cannot run user code; it must be Python 3.8 or newer (POSTERN_PYTHON).`;
  if (policy === "required" && !(sandbox.isolated && sandbox.privateFiles))
    return "This executor refuses Python user code because its host cannot hide processes and files from it (POSTERN_SANDBOX=required); allow user namespaces there, or set best-effort.";
  return undefined;
}
