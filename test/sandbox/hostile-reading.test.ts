import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { homedir, networkInterfaces } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { expectNoGain, hostilePlace, PENDING_PYTHON, SECRET, tries } from "./hostile-runs.js";

const py = (value: string | number) => JSON.stringify(value);

describe("a Python function that reads what is not its own", function () {
  this.timeout(60_000);
  before(function () {
    if (PENDING_PYTHON) this.skip();
  });
  const place = hostilePlace();

  it(`finds no environment, its own or another's${PENDING_PYTHON}`, async () => {
    expectNoGain(
      await place.run(
        "python",
        tries({
          variables: "dict(os.environ)",
          "its own, as the kernel has it": "read('/proc/self/environ')",
          "of the first process": "read('/proc/1/environ')",
          "of a program it starts":
            "[v for v in run('/usr/bin/env').decode().split() if not v.startswith('TZ=') and '_NUM_THREADS=1' not in v]",
          "by the C library": "ctypes.c_char_p(libc.getenv(b'POSTERN_TEST_SECRET') or 0).value",
        }),
      ),
    );
  });

  it(`sees no other process: neither the executor nor its own parents nor another's function${PENDING_PYTHON}`, async () => {
    const others: Record<string, string> = {};
    for (const pid of [process.pid, process.ppid])
      for (const file of ["environ", "mem", "cmdline", "maps", "status", "fd", "root", "cwd"])
        others[`${file} of ${pid}`] =
          file === "fd"
            ? `os.listdir('/proc/${pid}/fd')`
            : `read('/proc/${pid}/${file}') or os.readlink('/proc/${pid}/${file}')`;
    const code = tries({
      ...others,
      "processes that are not this one": "[p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]",
      "its parent": "os.getppid()",
      "the host's root through the first process": `os.listdir('/proc/1/root/${place.directory}')`,
      "attaching to the executor": `syscall(101, 16, ${process.pid}, 0, 0)`,
      "attaching to its parent": "syscall(101, 16, 1, 0, 0)",
      "reading the executor's memory": `syscall(310, ${process.pid}, 0, 0, 0, 0, 0)`,
      "a handle of the executor": `os.pidfd_open(${process.pid})`,
      "the kernel's key ring": "syscall(250, 11, -3, 0, 0)",
      "the kernel's messages": "syscall(103, 3, 0, 0)",
      "the host's settings": "os.listdir('/proc/sys')",
    });
    expectNoGain(await place.run("python", code));
  });

  it(`sees no file of the host: results, tokens, homes, passwords, sockets of services${PENDING_PYTHON}`, async () => {
    const results = join(place.directory, "another-run");
    mkdirSync(results);
    writeFileSync(join(results, "result.parquet"), SECRET);
    const paths = [
      ...[place.tokenFile, join(results, "result.parquet"), "/etc/passwd", "/etc/shadow", "/etc/hostname"],
      ...["/etc/resolv.conf", "/proc/cpuinfo", "/proc/kcore", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/vsock"],
      ...[join(process.cwd(), "package.json"), "/var/run/secrets/kubernetes.io/serviceaccount/token"],
    ];
    const directories = [place.directory, results, homedir(), "/home", "/var/run", "/sys/class", "/sys/fs/cgroup"];
    const attempts = Object.fromEntries([
      ...paths.map((path) => [`reading ${path}`, `read(${py(path)})`]),
      ...directories.map((path) => [
        `listing ${path}`,
        // The interpreter may lie within a home; its own directory is all there is of that home.
        `[n for n in os.listdir(${py(path)}) if not sys.base_prefix.startswith(os.path.join(${py(path)}, n))]`,
      ]),
      // The same holds of this checkout, whose interpreter and program it is: it may lie there.
      [
        "what else is in /tmp",
        `[n for n in os.listdir('/tmp') if not ${py(process.cwd())}.startswith(os.path.join('/tmp', n))]`,
      ],
      ["what is above the root", "[n for n in os.listdir('/../..') if n not in os.listdir('/')]"],
    ]);
    expectNoGain(await place.run("python", tries(attempts)));
  });

  describe("sockets", () => {
    const servers: Server[] = [];
    let connections = 0;
    let port = 0;
    let socketFile = "";
    const abstract = `postern-hostile-${process.pid}`;
    before(async () => {
      socketFile = join(place.directory, "database.sock");
      for (const where of [{ host: "0.0.0.0", port: 0 }, { path: socketFile }, { path: `\0${abstract}` }]) {
        const server = createServer((socket) => {
          connections++;
          socket.end(SECRET);
        });
        server.listen(where);
        await once(server, "listening");
        servers.push(server);
      }
      port = (servers[0]!.address() as { port: number }).port;
    });
    after(() => Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve)))));

    it(`reach nobody: neither servers of this host, nor databases, nor metadata addresses${PENDING_PYTHON}`, async () => {
      const addresses = Object.values(networkInterfaces()).flatMap((list) => list!.map(({ address }) => address));
      const attempts: Record<string, string> = {};
      for (const address of new Set([
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "fd00:ec2::254",
        "10.0.0.1",
        ...addresses,
      ])) {
        const at = address === "169.254.169.254" || address.startsWith("fd00") ? 80 : port;
        attempts[`connecting to ${address}`] = `socket.create_connection((${py(address)}, ${at}), timeout=2).recv(100)`;
      }
      const code = tries(
        {
          ...attempts,
          "resolving a name": "socket.getaddrinfo('example.com', 80)",
          "a datagram to a name server": "datagram('8.8.8.8', 53)",
          "a Unix socket by path": `unix(${py(socketFile)})`,
          "an abstract Unix socket": `unix("\\0${abstract}")`,
          "a socket to the hypervisor": "socket.socket(40, socket.SOCK_STREAM).fileno() + 1",
          "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
          "a packet socket": "socket.socket(17, socket.SOCK_RAW, 3)",
          "network interfaces that are up": "up()",
          "a program that connects": `run('/usr/bin/bash', '-c', 'exec 5<>/dev/tcp/127.0.0.1/${port} && cat <&5')`,
        },
        `
def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s.recv(100)
def datagram(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return s.sendto(b"x", (host, port))
def up():
    return [line for line in open('/proc/net/route').read().splitlines()[1:]] + \\
           [line.split(':')[0] for line in open('/proc/net/dev').read().splitlines()[2:] if line.split(':')[0].strip() != 'lo']
`,
      );
      expectNoGain(await place.run("python", code));
      expect(connections).to.equal(0);
    });
  });
});
