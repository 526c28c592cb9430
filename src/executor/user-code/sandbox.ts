// What the host offers to shut user code in. Probed once at start by really starting a process under each combination,
// strongest first; what works is used for every child and reported in Hello.
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";

/** How children are started on this host. */
export interface Sandbox {
  /** Layers in force for every child, for people; empty when the host offers none. */
  layers: string[];
  /** True when other processes, the network and shared memory are out of a child's sight. */
  isolated: boolean;
  /** True when a child sees no file of the host but the programs it is made of. */
  privateFiles: boolean;
  /** The user a child runs as; undefined: the executor's own. Its working directory must belong to it. */
  user: { uid: number; gid: number } | undefined;
  /** The command line that starts a child inside the layers. */
  wrap(child: ChildCommand): string[];
}

/** A program, and what it must be able to read beside the system's own programs and libraries. */
export interface ChildCommand {
  command: string[];
  /** Absolute paths of files and directories, a directory before what lies in it. */
  readable: string[];
}

const NOBODY = { uid: 65_534, gid: 65_534 };
const NAMESPACES = ["user-namespace", "network-namespace", "pid-namespace", "ipc-namespace"];
const UNSHARE = ["--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"];

/** First process of the child's namespaces: leaves the host's files behind. */
const PRIVATE_ROOT = fileURLToPath(new URL("./private-root.sh", import.meta.url));
/** Programs and libraries; not all of /usr, because images keep applications in /usr/src. */
const SYSTEM = [
  ...["/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/bin", "/usr/local/lib"],
  ...["/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache"],
];

interface Candidate {
  layers: string[];
  isolated: boolean;
  privateFiles: boolean;
  user: Sandbox["user"];
  command: string[];
}

/** Strongest first. `setpriv --pdeathsig` makes a child die with the executor, kill -9 included. */
function candidates(isRoot: boolean): Candidate[] {
  const asNobody = {
    user: NOBODY,
    names: ["unprivileged-user"],
    flags: ["--reuid=65534", "--regid=65534", "--clear-groups"],
  };
  const asSelf = { user: undefined, names: [], flags: [] };
  const all: Candidate[] = (isRoot ? [asNobody, asSelf] : [asSelf]).flatMap(({ user, names, flags }) => {
    const dying = ["setpriv", ...flags, "--pdeathsig=KILL", "--"];
    // Root keeps every capability within its own user namespace unless they are taken away.
    const bounding = isRoot && !user ? ["--bounding-set=-all"] : [];
    const powerless = ["setpriv", "--no-new-privs", "--inh-caps=-all", ...bounding, "--"];
    const common = [...names, "no-new-privileges", "dies-with-executor"];
    const unshare = (...more: string[]) => [...dying, "unshare", "--user", ...more, ...UNSHARE, "--"];
    const asItself = (...more: string[]) => [...unshare("--map-current-user", ...more), ...powerless];
    // Mounting takes root's powers within the namespace; they are dropped, all of them, before the child begins.
    const powers = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"];
    const mounting = [...unshare("--map-root-user", "--mount"), "sh", PRIVATE_ROOT];
    const inside = { user, isolated: true, privateFiles: false };
    return [
      {
        ...inside,
        privateFiles: true,
        layers: [...NAMESPACES, "mount-namespace", "private-files", "private-proc", ...common],
        command: [...mounting, READABLE, "--", ...powers],
      },
      { ...inside, layers: [...NAMESPACES, "private-proc", ...common], command: asItself("--mount-proc") },
      { ...inside, layers: [...NAMESPACES, ...common], command: asItself() },
      { ...inside, isolated: false, layers: common, command: [...dying, ...powerless] },
    ];
  });
  // Files out of sight are worth more than another user's name on the process.
  return all.sort((one, other) => Number(other.privateFiles) - Number(one.privateFiles));
}

/** Stands in a candidate's command for what the child must be able to read. */
const READABLE = "{readable}";

/** The strongest combination under which every one of the `commands` starts and ends well on empty input. */
export async function probeSandbox(deps: {
  path: string | undefined;
  isRoot: boolean;
  commands: ChildCommand[];
}): Promise<Sandbox> {
  for (const { layers, isolated, privateFiles, user, command } of candidates(deps.isRoot)) {
    const resolved = resolvePrograms(command, deps.path);
    if (!resolved) continue;
    const wrap = (child: ChildCommand) => [
      ...resolved.flatMap((word) => (word === READABLE ? [...SYSTEM, ...child.readable] : [word])),
      ...child.command,
    ];
    const started = await Promise.all(deps.commands.map((child) => endsWell(wrap(child))));
    if (started.every(Boolean)) return { layers, isolated, privateFiles, user, wrap };
  }
  return { layers: [], isolated: false, privateFiles: false, user: undefined, wrap: ({ command }) => command };
}

/** Whether a program starts and ends well with an empty environment and no input. */
export function endsWell([program, ...args]: string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program!, args, {
      env: {},
      cwd: "/",
      stdio: "ignore",
      timeout: PROBE_MS,
      killSignal: "SIGKILL",
    });
    child.once("error", () => resolve(false));
    child.once("close", (code) => resolve(code === 0));
  });
}
const PROBE_MS = 10_000;

const PROGRAMS = new Set(["setpriv", "unshare", "sh"]);

/** Programs by absolute path, because children get no PATH; undefined when one is missing. */
function resolvePrograms(command: string[], path: string | undefined): string[] | undefined {
  const resolved = command.map((word) => (PROGRAMS.has(word) ? findProgram(word, path) : word));
  return resolved.every((word) => word !== undefined) ? resolved : undefined;
}

/** A program by name as a shell would find it, or the absolute path itself when it can be executed. */
export function findProgram(name: string, path: string | undefined): string | undefined {
  const places = isAbsolute(name) ? [name] : (path ?? "").split(delimiter).map((directory) => join(directory, name));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return isAbsolute(place);
    } catch {
      return false; // not there
    }
  });
}
