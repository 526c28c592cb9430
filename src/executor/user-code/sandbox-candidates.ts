// The combinations of layers a host may offer, strongest first, as command lines around a child's own.
import { readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Candidate {
  layers: string[];
  /** Other processes, the network and shared memory are out of sight. */
  isolated: boolean;
  privateFiles: boolean;
  /** The kernel counts the child's processes apart from all others of its user. */
  ownUserNamespace: boolean;
  user: { uid: number; gid: number } | undefined;
  /** Programs by name; READABLE stands for what the child must be able to read. */
  command: string[];
}

export const READABLE = "{readable}";

/** The names in a candidate's command that are programs to be looked up. */
export const PROGRAMS = new Set(["setpriv", "unshare", "chroot", "sh"]);

const NOBODY = { uid: 65_534, gid: 65_534 };
const BECOME_NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"];
const NAMESPACES = ["network-namespace", "pid-namespace", "ipc-namespace"];
const UNSHARE = ["--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"];
/** Dies with its parent, and so with the executor, kill -9 included. A change of user forgets it. */
const DYING = "--pdeathsig=KILL";
const POWERLESS = ["--no-new-privs", "--inh-caps=-all"];
/** Root keeps every capability within a user namespace unless they are taken away. */
const WITHOUT_ROOTS_POWERS = [...POWERLESS, "--bounding-set=-all"];

/** First process of the child's namespaces: leaves the host's files behind. */
const PRIVATE_ROOT = fileURLToPath(new URL("./private-root.sh", import.meta.url));
/** Where the executor's own mounts are, for that script to stay away from; elsewhere than on Linux there are none. */
const MOUNTS = mountNamespace() ?? "none";
/** From where that script leaves off to where the child works. */
const CHROOT = ["chroot", "/inner", "sh", "-c", 'cd /tmp && unset PWD OLDPWD && exec "$@"', "sh"];

export function candidates(isRoot: boolean): Candidate[] {
  const common = ["no-new-privileges", "dies-with-executor"];
  const inside = { isolated: true, privateFiles: true, ownUserNamespace: true, user: undefined };
  const files = [...NAMESPACES, "mount-namespace", "private-files"];
  const mountedByRoot = [
    "setpriv",
    DYING,
    "--",
    "unshare",
    "--mount",
    "--cgroup",
    ...UNSHARE,
    "--",
    "sh",
    PRIVATE_ROOT,
    MOUNTS,
  ];
  // Where the executor is root, root mounts, and the child is nobody: it can read what root may show it.
  const fromRoot: Candidate[] = [
    {
      ...inside,
      user: NOBODY,
      layers: ["user-namespace", ...files, "unprivileged-user", ...common],
      command: [
        ...[...mountedByRoot, READABLE, "--", "setpriv", ...BECOME_NOBODY, DYING, "--"],
        ...["unshare", "--user", "--map-root-user", "--", ...CHROOT],
        ...["setpriv", ...WITHOUT_ROOTS_POWERS, DYING, "--"],
      ],
    },
    {
      ...inside,
      ownUserNamespace: false,
      user: NOBODY,
      layers: [...files, "unprivileged-user", ...common],
      command: [
        ...[...mountedByRoot, READABLE, "--", ...CHROOT],
        ...["setpriv", ...BECOME_NOBODY, ...WITHOUT_ROOTS_POWERS, DYING, "--"],
      ],
    },
  ];
  const asSelf: Candidate = {
    ...inside,
    layers: ["user-namespace", ...files, ...common],
    command: [
      ...["setpriv", DYING, "--", "unshare", "--user", "--map-root-user", "--mount", "--cgroup", ...UNSHARE, "--"],
      // Mounting takes root's powers within the namespace; they are dropped, all of them, before the child begins.
      ...["sh", PRIVATE_ROOT, MOUNTS, READABLE, "--", ...CHROOT, "setpriv", ...WITHOUT_ROOTS_POWERS, "--"],
    ],
  };
  return [...(isRoot ? fromRoot : []), asSelf, ...withTheHostsFiles(isRoot)];
}

/** Weaker: the child sees the host's files as its user does. */
function withTheHostsFiles(isRoot: boolean): Candidate[] {
  const users = [
    ...(isRoot ? [{ user: NOBODY, names: ["unprivileged-user"], flags: BECOME_NOBODY, powerless: POWERLESS }] : []),
    { user: undefined, names: [], flags: [], powerless: isRoot ? WITHOUT_ROOTS_POWERS : POWERLESS },
  ];
  const all = users.flatMap(({ user, names, flags, powerless }) => {
    const dying = ["setpriv", ...flags, DYING, "--"];
    const layers = [...names, "no-new-privileges", "dies-with-executor"];
    const namespaces = { user, isolated: true, privateFiles: false, ownUserNamespace: true };
    const unshare = (...more: string[]) => [
      ...[...dying, "unshare", "--user", "--map-current-user", ...more, ...UNSHARE, "--"],
      ...["setpriv", ...powerless, "--"],
    ];
    const reported = ["user-namespace", ...NAMESPACES, ...layers];
    return [
      { ...namespaces, layers: reported, command: unshare("--mount-proc") },
      { ...namespaces, layers: reported, command: unshare() },
      {
        ...{ user, isolated: false, privateFiles: false, ownUserNamespace: false, layers },
        command: [...dying, "setpriv", ...powerless, "--"],
      },
    ];
  });
  // Being out of sight of the others is worth more than another user's name.
  return all.sort((one, other) => Number(other.isolated) - Number(one.isolated));
}

function mountNamespace(): string | undefined {
  try {
    return readlinkSync("/proc/self/ns/mnt");
  } catch {
    return undefined; // without /proc no private files can be made either
  }
}
