// What Linux shows of a running process: everything another process of the same user could learn about it.
import { readdir, readFile, readlink } from "node:fs/promises";

export interface ProcessFacts {
  /** NAME=value. */
  environment: string[];
  commandLine: string[];
  /** What its file descriptors point to, for example "socket:[123]" or a path. */
  files: { fd: number; target: string }[];
  /** Addresses of the TCP peers it is connected to, "127.0.0.1:7700". */
  tcpPeers: string[];
  /** Descriptors that are Unix sockets. */
  unixSockets: number[];
}

export async function processFacts(pid: number): Promise<ProcessFacts> {
  const nulSeparated = async (name: string) =>
    (await readFile(`/proc/${pid}/${name}`, "utf8")).split("\0").filter(Boolean);
  const files: ProcessFacts["files"] = [];
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ""); // closed meanwhile
    if (target) files.push({ fd: Number(fd), target });
  }
  const inodes = new Map(files.map(({ fd, target }) => [/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? "", fd]));
  inodes.delete("");
  const unix = await table(`/proc/${pid}/net/unix`);
  const tcp = [...(await table(`/proc/${pid}/net/tcp`)), ...(await table(`/proc/${pid}/net/tcp6`))];
  return {
    environment: await nulSeparated("environ"),
    commandLine: await nulSeparated("cmdline"),
    files,
    tcpPeers: tcp.filter((row) => inodes.has(row[9] ?? "")).map((row) => peerOf(row[2]!)),
    unixSockets: unix.flatMap((row) => inodes.get(row[6] ?? "") ?? []),
  };
}

async function table(path: string): Promise<string[][]> {
  const text = await readFile(path, "utf8").catch(() => ""); // no IPv6 here
  return text
    .split("\n")
    .slice(1)
    .filter(Boolean)
    .map((line) => line.trim().split(/\s+/));
}

/** "0100007F:1E14" (IPv4, bytes reversed) or the IPv6 form of the same. */
function peerOf(text: string): string {
  const [address = "", port = ""] = text.split(":");
  const last = address.slice(-8);
  const bytes = [6, 4, 2, 0].map((at) => Number.parseInt(last.slice(at, at + 2), 16));
  return `${bytes.join(".")}:${Number.parseInt(port, 16)}`;
}

/** Pids of every process whose command line or working files mention a text, ourselves excluded. */
export async function processesMentioning(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const [commandLine, environment] = await Promise.all(
      ["cmdline", "environ"].map((file) => readFile(`/proc/${name}/${file}`, "utf8").catch(() => "")),
    );
    if (`${commandLine}\0${environment}`.includes(text)) found.push(`${name} ${commandLine!.replaceAll("\0", " ")}`);
  }
  return found;
}
