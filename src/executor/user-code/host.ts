// What this executor can do with user code, found out once at start: languages, isolation, limits.
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { promisify } from "node:util";
import type { Language } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import { RunFailure } from "../run/failure.js";
import { javascriptCommand, type PythonInterpreter, pythonCommand } from "./child-command.js";
import { canWatchTrees, type TreeLimits } from "./process-tree.js";
import { endsWell, findProgram, probeSandbox, type Sandbox } from "./sandbox.js";
import { createSpareChildren } from "./spare-children.js";
import { type StartedChild, startProcess } from "./started-child.js";

export interface UserCodeHost {
  sandbox: Sandbox;
  /** Languages of user code this executor runs. */
  languages: Language[];
  /** Everything that shuts user code in, for Hello. */
  layers: string[];
  /** Why Python is not among the languages. */
  pythonRefusal: string | undefined;
  /**
   * A started child that waits for its first frame, for one operator of one run; a spare one when there is one. Fails
   * with SANDBOX_UNAVAILABLE when the language cannot be run.
   */
  start(language: Language, operatorId: string): Promise<StartedChild>;
  /** Ends what waits for work. Children that were handed out are their takers'. */
  close(): Promise<void>;
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
  /** Keeps a started child of each language ready. Default false. */
  spareChildren?: boolean;
  /** For the children's own directories; default the temporary files' own. */
  directory?: string;
  /** What all processes of one child may take together, where it differs from the defaults. */
  limits?: Partial<TreeLimits>;
  log: Logger;
}

const BATCH_MS = 60_000;

/** What one function may take. Its code is one thread; the rest is for what its libraries do beside it. */
const LIMITS = { processes: 64, cpus: 1.5, cpuBurstMs: 30_000 };
/** Memory of the language's own programs, beside what the code may use. */
const BASE_BYTES: Record<Language, number> = { javascript: 256 * 1024 * 1024, python: 64 * 1024 * 1024 };

export async function findUserCodeHost(options: HostOptions): Promise<UserCodeHost> {
  const javascript = javascriptCommand();
  const program = findProgram(options.python, options.path);
  const interpreter = program && (await realInterpreter(program));
  const python = interpreter ? pythonCommand(interpreter, options.memoryBytes) : undefined;
  const pythonWorks = python !== undefined && (await endsWell(python.command));
  const commands = python && pythonWorks ? [javascript, python] : [javascript];
  const sandbox = await probeSandbox({ path: options.path, isRoot: options.isRoot, commands });
  const refusal = pythonRefusal(options, { found: program !== undefined, works: pythonWorks, sandbox });
  if (!sandbox.isolated || !sandbox.privateFiles)
    options.log.warn(
      { layers: sandbox.layers, policy: options.policy },
      "this host lacks user or mount namespaces: Python user code can read what the executor's user can read",
    );
  const languages: Language[] = refusal === undefined ? ["javascript", "python"] : ["javascript"];
  const directory = options.directory ?? tmpdir();
  const start = (language: Language) => {
    const memoryBytes = options.memoryBytes + BASE_BYTES[language];
    const limits = { ...LIMITS, memoryBytes, ...options.limits };
    return startProcess({ sandbox, directory, limits }, language === "javascript" ? javascript : python!);
  };
  const spares = createSpareChildren({ languages: options.spareChildren ? languages : [], start, log: options.log });
  return {
    sandbox,
    languages,
    layers: [
      ...sandbox.layers,
      ...["empty-environment", "quickjs", "node-permissions"],
      canWatchTrees() ? "process-tree-limits" : "process-group",
    ],
    pythonRefusal: refusal,
    batchMs: options.batchMs ?? BATCH_MS,
    memoryBytes: options.memoryBytes,
    async start(language, operatorId) {
      if (language === "python" && refusal !== undefined)
        throw new RunFailure("SANDBOX_UNAVAILABLE", refusal, { operatorId });
      const child = await spares.take(language).catch((cause: unknown) => {
        const message = `No process for user code can be started (${String(cause)}).`;
        throw new RunFailure("SANDBOX_UNAVAILABLE", message, { operatorId, cause });
      });
      child.tree.watch();
      return child;
    },
    close: () => spares.close(),
  };
}

const WHO =
  "import sys; assert sys.version_info >= (3, 8); " +
  "print(sys.executable, sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix, sep='\\n')";

/** The interpreter behind a launcher such as pyenv's, which would put variables of its own into the environment. */
async function realInterpreter(program: string): Promise<PythonInterpreter | undefined> {
  try {
    const { stdout } = await run(program, ["-I", "-c", WHO], { env: {}, timeout: 10_000 });
    const [executable, ...prefixes] = stdout.trim().split("\n");
    // A prefix such as /usr is the system's own, most of which a child has anyway and the rest of which it must not.
    const own = prefixes.filter((prefix) => !["/", "/usr", "/usr/local"].includes(prefix));
    return executable ? { executable, prefixes: [...new Set(own)].sort() } : undefined;
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
    return "This executor refuses Python user code because its host cannot hide processes and files from it; allow user namespaces there, or accept that with POSTERN_SANDBOX=best-effort.";
  return undefined;
}
