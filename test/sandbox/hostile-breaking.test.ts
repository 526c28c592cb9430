import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { expectNoGain, hostilePlace, PENDING_PYTHON, SECRET, tries } from "./hostile-runs.js";

describe("a Python function that breaks what is not its own", function () {
  this.timeout(60_000);
  before(function () {
    if (PENDING_PYTHON) this.skip();
  });
  const place = hostilePlace();

  it(`writes nowhere but into its own directory, which nobody else has${PENDING_PYTHON}`, async () => {
    const around = ["/", "/usr/bin", "/usr/lib", "/etc", "/dev", "/proc/self", "/inner", homedir(), place.directory];
    const attempts = Object.fromEntries([
      ...around.map((path) => [`a file in ${path}`, `write(${JSON.stringify(join(path, "hostile"))})`]),
      ["the executor's token", `write(${JSON.stringify(place.tokenFile)})`],
      ["the program it runs in", "write(sys.argv[0])"],
      ["the interpreter", "write(sys.executable)"],
      ["a setting of the kernel", "write('/proc/sys/kernel/core_pattern', '|/tmp/x')"],
      ["its own limits by the kernel's file", "write('/proc/self/oom_score_adj', '-1000')"],
      ["another owner", "os.chown('/usr/bin', 0, 0) or 1"],
      ["a device", "os.mknod('/tmp/disk', 0o060600, os.makedev(254, 0)) or 1"],
      ["a mount", "syscall(165, b'none', b'/tmp', b'tmpfs', 0, 0) or 1"],
      ["making the root writable", "syscall(165, b'none', b'/', b'none', 32, 0) or 1"],
      ["leaving its root", "os.chroot('/tmp') or 1"],
      ["a user namespace", "syscall(272, 0x10000000)"],
      ["a user namespace by a program", "run('/usr/bin/unshare', '--user', '/usr/bin/id')"],
      ["becoming somebody else", "os.setuid(1) or os.setgid(1) or 1"],
      ["raising its limits", "raised()"],
    ]);
    const setup = `
import resource
def raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    return "raised"
`;
    expectNoGain(await place.run("python", tries(attempts, setup)));
    expect(readFileSync(place.tokenFile, "utf8")).to.equal(SECRET);
    expect(existsSync(join(homedir(), "hostile"))).to.equal(false);
  });

  it(`follows no link out of its directory, and leaves none behind that anyone follows${PENDING_PYTHON}`, async () => {
    const victim = join(place.directory, "victim");
    mkdirSync(victim);
    writeFileSync(join(victim, "precious"), "still here");
    const code = tries(
      {
        "a link to a file": `linked(${JSON.stringify(place.tokenFile)})`,
        "a link to a directory": `os.listdir(linked(${JSON.stringify(victim)}, False))`,
        "a link through the first process":
          "read('/tmp/through') if os.symlink('/proc/1/root/etc/shadow', '/tmp/through') is None else 0",
        "a link upwards":
          "[n for n in os.listdir('/tmp/up') if n not in os.listdir('/')] if os.symlink('../../../../..', '/tmp/up') is None else 0",
        "a hard link to a program": "os.link('/usr/bin/env', '/tmp/env') or 1",
        "a link in its working directory": `os.symlink(${JSON.stringify(victim)}, 'victim') or os.listdir('victim')`,
      },
      `
def linked(path, reads=True):
    link = '/tmp/link-%d' % abs(hash(path))
    os.symlink(path, link)
    return read(link) if reads else link
`,
    );
    expectNoGain(await place.run("python", code));
    expect(readFileSync(join(victim, "precious"), "utf8")).to.equal("still here");
  });

  it(`reaches nobody with signals${PENDING_PYTHON}`, async () => {
    const code = tries({
      "the executor": `os.kill(${process.pid}, 9) or 1`,
      "its parent": "os.kill(os.getppid(), 9) or 1 if os.getppid() else ''",
      "the executor's process group": `os.killpg(${process.pid}, 9) or 1`,
      everybody: "os.kill(-1, 9) or 1",
      "the executor's priority": `os.setpriority(os.PRIO_PROCESS, ${process.pid}, 19) or 1`,
      "its own priority, upwards": "os.nice(-5) or 1",
      "real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)) or 1",
    });
    expectNoGain(await place.run("python", code));
  });

  it(`kills everything it can reach, and so only itself${PENDING_PYTHON}`, async () => {
    const run = await place.run(
      "python",
      "import os\ndef process_tuple(t):\n    if os.fork() == 0:\n        os.kill(-1, 9)\n    os.killpg(0, 9)",
    );
    expect(run.state).to.be.oneOf(["FAILED", "COMPLETED"]);
  });

  it(`leaves processes behind in sessions of their own: they end with it${PENDING_PYTHON}`, async () => {
    const code = `
import os, time
def process_tuple(t):
    for i in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for descriptor in range(64):
                    try: os.close(descriptor)
                    except OSError: pass
                time.sleep(600)
            os._exit(0)
    return {'v': 'done'}
`;
    const run = await place.run("python", code);
    expect([run.state, run.value]).to.deep.equal(["COMPLETED", "done"]);
  });

  const garbage: [string, string][] = [
    ["nonsense", "os.write(3, os.urandom(65536))"],
    ["a length without an end", "os.write(3, b'\\xff\\xff\\xff\\xff' + b'x' * 65536)"],
    ["half a frame", "os.write(3, b'\\x10\\x00\\x00\\x00{')"],
    ["an endless frame", "[os.write(3, b'\\xff\\xff\\xff\\x02' + b'x' * 65536) for _ in range(2000)]"],
    ["JSON that is no reply", "os.write(3, b'\\x02\\x00\\x00\\x00[]')"],
    [
      "a reply that reaches for the prototype",
      `[os.write(3, len(m).to_bytes(4, 'little') + m) for m in [b'{"__proto__": {"polluted": 1}, "error": {"__proto__": {"kind": "x"}}}']]`,
    ],
  ];
  for (const [what, expression] of garbage)
    it(`writes ${what} where its replies go, and fails alone${PENDING_PYTHON}`, async () => {
      const code = `import os\ndef process_tuple(t):\n    ${expression}\n    return {'v': 'x'}`;
      const run = await place.run("python", code);
      expect([run.state, run.reason]).to.deep.equal(["FAILED", "USER_CODE_ERROR"]);
      expect(({} as Record<string, unknown>).polluted).to.equal(undefined);
    });

  it(`closes every descriptor it has, and fails alone${PENDING_PYTHON}`, async () => {
    const run = await place.run(
      "python",
      "import os\ndef process_tuple(t):\n    os.closerange(0, 256)\n    return {'v': 'x'}",
    );
    expect([run.state, run.reason]).to.deep.equal(["FAILED", "USER_CODE_ERROR"]);
  });

  it(`breaks the interpreter around it, and fails alone${PENDING_PYTHON}`, async () => {
    const code = `
import builtins, gc, json, os, sys
def process_tuple(t):
    json.dumps = json.loads = None
    builtins.len = lambda x: 1 << 40
    builtins.dict = builtins.list = builtins.str = None
    for thing in gc.get_objects():
        if type(thing).__name__ == "Runner":
            thing.__dict__.clear()
    return {'v': 'x'}
`;
    const run = await place.run("python", code);
    expect(run.state).to.be.oneOf(["FAILED", "COMPLETED"]);
  });

  it("removes its directory and not what a link in it leads to, where it works among the host's files", async () => {
    const host = await place.hostWith({ path: "/nowhere", python: await pythonItself() });
    if (!host.languages.includes("python")) return;
    const victim = join(place.directory, "beyond");
    mkdirSync(victim);
    writeFileSync(join(victim, "precious"), "still here");
    const code = `import os\ndef process_tuple(t):\n    os.symlink(${JSON.stringify(victim)}, 'link')\n    os.makedirs('deep/er')\n    os.chmod('deep/er', 0)\n    os.chmod('.', 0)\n    return {'v': 'done'}`;
    const run = await place.run("python", code, host);
    expect(run.value).to.equal("done");
    expect(readFileSync(join(victim, "precious"), "utf8")).to.equal("still here");
  });
});

const pythonItself = async (): Promise<string> => {
  const { execFileSync } = await import("node:child_process");
  return execFileSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).trim();
};
