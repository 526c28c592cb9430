// What this machine offers to shut user code in, and what would have to be done for more. For people, by
// `postern doctor`; found out by the same code that an executor starts with.
import type { Language } from "../../core/plan.js";
import { environment } from "../../process/env.js";
import { createLogger } from "../../process/log.js";
import { findUserCodeHost } from "./host.js";

export interface UserCodeReport {
  languages: Language[];
  /** In force here. */
  layers: string[];
  /** Not in force here, and how to get it. */
  missing: { layer: string; next: string }[];
  /** Why Python is refused under POSTERN_SANDBOX as it is set; empty when it is not. */
  pythonRefusal: string;
}

const NAMESPACES =
  "allow user namespaces: kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, kernel.unprivileged_userns_clone=1 on Debian, a seccomp profile that permits unshare in a container";

/** Every layer there may be, with what is needed for it. */
const WANTED: Record<string, string> = {
  "network-namespace": NAMESPACES,
  "pid-namespace": NAMESPACES,
  "ipc-namespace": NAMESPACES,
  "private-files": NAMESPACES,
  "private-proc": `${NAMESPACES}, and leave /proc unmasked`,
  "no-new-privileges": "install util-linux (setpriv)",
  "dies-with-executor": "install util-linux (setpriv)",
  "no-nested-namespaces": NAMESPACES,
  "resource-limits": "install util-linux (prlimit)",
  "process-limit":
    "use Linux 5.14 or newer with user namespaces; processes are counted and ended all the same, a little later",
  "python-system-call-filter": "use Python with ctypes, on x86_64 or arm64 Linux",
  "process-tree-limits": "run on Linux with /proc",
};

export async function probeUserCode(variables: NodeJS.ProcessEnv): Promise<UserCodeReport> {
  const env = environment(variables);
  const host = await findUserCodeHost({
    python: env.text("POSTERN_PYTHON", "python3"),
    policy: env.oneOf("POSTERN_SANDBOX", ["best-effort", "required"], "required"),
    path: env.optionalText("PATH"),
    isRoot: process.getuid?.() === 0,
    memoryBytes: 128 * 1024 * 1024,
    log: createLogger("probe", "silent"),
  });
  const { languages, layers, pythonRefusal } = host;
  const missing = Object.entries(WANTED)
    .filter(([layer]) => !layers.includes(layer) && !(layer === "private-proc" && layers.includes("no-proc")))
    .map(([layer, next]) => ({ layer, next }));
  return { languages, layers, missing, pythonRefusal: pythonRefusal ?? "" };
}
