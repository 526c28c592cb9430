// What the host offers to shut user code in. Probed once at start by really starting a process under each combination,
// strongest first; what works is used for every child and reported in Hello.
import { accessSync, constants } from "node:fs";
import { release } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { observeLayers, outputOf } from "./observed-layers.js";
import { candidates, PROGRAMS, READABLE } from "./sandbox-candidates.js";

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
  /** What one process may have, and what all of them together where the kernel counts so. */
  limits: ResourceLimits;
  /** A command that prints, a word a line, what the child gives up by itself. */
  probe?: string[];
}

export interface ResourceLimits {
  processes: number;
  openFiles: number;
  /** Of one file. */
  fileBytes: number;
}

/** Programs and libraries; not all of /usr, because images keep applications in /usr/src. */
const SYSTEM = [
  ...["/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/bin", "/usr/local/lib"],
  ...["/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache"],
];

/** The strongest combination under which every one of the `commands` starts and ends well on empty input. */
export async function probeSandbox(deps: {
  path: string | undefined;
  isRoot: boolean;
  commands: ChildCommand[];
}): Promise<Sandbox> {
  for (const { layers, isolated, privateFiles, ownUserNamespace, user, command } of candidates(deps.isRoot)) {
    const resolved = resolvePrograms(command, deps.path);
    if (!resolved) continue;
    const prlimit = findProgram("prlimit", deps.path);
    // Some lie in directories for administrators, which a child has no use for.
    const tools = [...new Set(resolved.filter((_, i) => PROGRAMS.has(command[i]!)))];
    // Counted for each user namespace by itself since 5.14; before, other processes of the same user would be in it.
    const countsProcesses = ownUserNamespace && isAtLeast(release(), 5, 14);
    const wrap = ({ command: program, readable, limits }: ChildCommand) => [
      ...resolved.flatMap((word) => (word === READABLE ? [...SYSTEM, ...tools, ...readable] : [word])),
      ...(prlimit ? [prlimit, ...limitFlags(limits, countsProcesses), "--"] : []),
      ...program,
    ];
    const started = await Promise.all(deps.commands.map((child) => endsWell(wrap(child))));
    if (!started.every(Boolean)) continue;
    const observed = await observeLayers({ wrap, shell: findProgram("sh", deps.path), commands: deps.commands });
    return { layers: [...layers, ...observed], isolated, privateFiles, user, wrap };
  }
  const wrap = ({ command }: ChildCommand) => command;
  const layers = await observeLayers({ wrap, commands: deps.commands });
  return { layers, isolated: false, privateFiles: false, user: undefined, wrap };
}

const limitFlags = ({ processes, openFiles, fileBytes }: ResourceLimits, countsProcesses: boolean) => [
  ...(countsProcesses ? [`--nproc=${processes}`] : []),
  ...[`--nofile=${openFiles}`, `--fsize=${fileBytes}`, "--core=0", "--memlock=65536", "--msgqueue=0"],
];

/** Whether a kernel's release, such as 6.1.0-13-amd64, is at least this one. */
export function isAtLeast(text: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = text.split(/[.-]/).map(Number);
  return first > major || (first === major && second >= minor);
}

/** Whether a program starts and ends well with an empty environment and no input. */
export const endsWell = async (command: string[]): Promise<boolean> => (await outputOf(command)) !== undefined;

/** Where chroot lies on systems whose ordinary users do not look there. */
const SBIN = ["/usr/sbin", "/sbin"].join(delimiter);

/** Programs by absolute path, because children get no PATH; undefined when one is missing. */
function resolvePrograms(command: string[], path: string | undefined): string[] | undefined {
  const find = (name: string) => findProgram(name, path) ?? (name === "chroot" ? findProgram(name, SBIN) : undefined);
  const resolved = command.map((word) => (PROGRAMS.has(word) ? find(word) : word));
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
