// What user code finds around it in its process.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import type { Language } from "../../src/core/plan.js";
import { findUserCodeHost, type UserCodeHost } from "../../src/executor/user-code/host.js";
import type { ChildCommand } from "../../src/executor/user-code/sandbox.js";
import { PYTHON } from "../support/function-runs.js";
import { columns, planOf, scan, userFunction } from "../support/physical-plans.js";
import { ran, rowsOf, scratch, silent, thisHost } from "../support/plan-runs.js";

const NAMESPACES = spawnSync("unshare", ["--user", "--net", "--pid", "--fork", "true"]).status === 0;
const PEOPLE = columns("name:string age:integer");
const PEOPLE_CSV = "name,age\nAnn,30\nBob,41\nCid,52\n";

describe(`the process of user code${PYTHON ? "" : " (pending: this machine has no python3)"}`, () => {
  let place: ReturnType<typeof scratch>;
  before(function () {
    if (!PYTHON) this.skip();
  });
  beforeEach(() => {
    place = scratch();
  });
  afterEach(() => place.remove());

  async function tells(
    source: string,
    host: UserCodeHost,
    output = columns("v:string"),
    language: Language = "python",
  ) {
    const path = join(place.directory, "in.csv");
    writeFileSync(path, PEOPLE_CSV);
    const plan = planOf(
      [
        scan("in", PEOPLE, { uri: pathToFileURL(path).href }),
        { ...userFunction("f", language, PEOPLE, source, output), materialized: true },
      ],
      ["in>f"],
    );
    const resultPrefix = `${pathToFileURL(join(place.directory, "results")).href}/`;
    return ran(plan, { resultPrefix, workDirectory: place.directory, host });
  }

  it("has an empty environment, and no token in it, its memory map or its command line", async () => {
    process.env.POSTERN_TEST_SECRET = "token-hunter2";
    try {
      const source = `import os
def process_tuple(t):
    seen = [repr(dict(os.environ)), open('/proc/self/cmdline').read(), open('/proc/self/environ').read()]
    return {'v': ' '.join(seen)}
`;
      const { fileOf } = await tells(source, await thisHost());
      const [[seen]] = (await rowsOf(fileOf("f"))) as [[string]];
      expect(seen).to.match(/^\{('LC_CTYPE': 'C.UTF-8')?\} /);
      expect(seen).not.to.match(/hunter2|POSTERN|PATH/);
      expect(seen.split(" ").at(-1)).to.equal("");
    } finally {
      delete process.env.POSTERN_TEST_SECRET;
    }
  });

  it("has UTC as its local time in both languages, wherever the host is", async () => {
    const { sandbox, ...rest } = await thisHost();
    const inTokyo = { ...sandbox, wrap: ({ command }: ChildCommand) => ["/usr/bin/env", "TZ=Asia/Tokyo", ...command] };
    const code = {
      javascript: "function processTuple(t) { return { v: String(new Date(2020, 0, 1).getTime() / 1000) }; }",
      python:
        "import time\ndef process_tuple(t): return {'v': str(int(time.mktime((2020, 1, 1, 0, 0, 0, 0, 0, 0))))}\n",
    };
    for (const language of ["javascript", "python"] as const) {
      const { fileOf } = await tells(code[language], { ...rest, sandbox: inTokyo }, undefined, language);
      expect(await rowsOf(fileOf("f")), language).to.deep.equal(Array(3).fill(["1577836800"]));
    }
  });

  it("inherits no descriptor but its pipes", async () => {
    const source = `import os
def process_tuple(t):
    return {'v': ' '.join(sorted(os.readlink('/proc/self/fd/' + f).split(':')[0] for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f) or True and os.path.islink('/proc/self/fd/' + f)))}
`;
    const { fileOf, manifest } = await tells(source, await thisHost());
    expect(manifest.failure).to.equal(undefined);
    const [[seen]] = (await rowsOf(fileOf("f"))) as [[string]];
    for (const one of seen.split(" ")) expect(one).to.match(/^(socket|pipe|\/dev\/null|\/proc\/\d+\/fd)$/);
  });

  it(`sees no file of the executor where the host can hide them${NAMESPACES ? "" : " (pending: this machine has no user namespaces)"}`, async function () {
    const host = await thisHost();
    if (!NAMESPACES || !host.layers.includes("private-files")) return this.skip();
    writeFileSync(join(place.directory, "serve.token"), "token-hunter2");
    const source = `import os, sys
def attempt(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
def process_tuple(t):
    held = [name for name in ${JSON.stringify([place.directory, process.cwd(), process.env.HOME ?? "/root"])}
            if any(os.path.isfile(os.path.join(at, file)) and not at.startswith(sys.base_prefix) and '/user-code' not in at
                   for at, _, files in os.walk(name) for file in files)]
    tries = [attempt(lambda: open('/etc/shadow').read()),
             attempt(lambda: open(${JSON.stringify(join(place.directory, "results", "x"))}, 'w')),
             attempt(lambda: open('/usr/bin/x', 'w')),
             attempt(lambda: open('/proc/sys/kernel/core_pattern', 'w')),
             attempt(lambda: os.setuid(1)), attempt(lambda: os.chroot('/tmp'))]
    return {'v': repr([held, tries])}
`;
    const { fileOf, manifest } = await tells(source, host);
    expect(manifest.failure).to.equal(undefined);
    const [[seen]] = (await rowsOf(fileOf("f"))) as [[string]];
    expect(seen).to.match(
      /^\[\[\], \['FileNotFoundError', 'FileNotFoundError', '(OSError|PermissionError)', '(OSError|FileNotFoundError)', '(OSError|PermissionError)', 'PermissionError'\]\]$/,
    );
  });

  const isolation = NAMESPACES ? "" : " (pending: this machine has no user namespaces)";
  it(`sees no other process and no network where the host isolates${isolation}`, async function () {
    if (!NAMESPACES) this.skip();
    const host = await thisHost();
    expect(host.layers).to.include.members(["pid-namespace", "network-namespace"]);
    const source = `import os, socket
def process_tuple(t):
    try:
        socket.create_connection(('127.0.0.1', 1), 1)
        net = 'connected'
    except OSError as e:
        net = type(e).__name__
    return {'v': net + ' ' + str(len([p for p in os.listdir('/proc') if p.isdigit()]))}
`;
    const { fileOf } = await tells(source, host);
    const [[seen]] = (await rowsOf(fileOf("f"))) as [[string]];
    const [net, count] = seen.split(" ");
    expect(net).to.be.oneOf(["OSError", "ConnectionRefusedError", "TimeoutError"]);
    if (host.layers.includes("private-proc")) expect(Number(count)).to.be.lessThan(4);
  });

  it("that ends by itself is an error of user code, in a sentence", async () => {
    const { manifest } = await tells("import os\ndef process_tuple(t):\n    os._exit(3)\n", await thisHost());
    expect(manifest.failure?.message).to.match(/ended without an answer.*exit code 3/);
  });

  it("that sends nonsense is an error of user code, in a sentence", async () => {
    const source = "import os\ndef process_tuple(t):\n    os.write(3, b'\\x05\\x00\\x00\\x00[1,2]')\n    os._exit(0)\n";
    const { manifest } = await tells(source, await thisHost());
    expect(manifest.failure?.reason).to.equal("USER_CODE_ERROR");
    expect(manifest.failure?.message).to.match(/something unreadable/);
  });

  it("is refused for Python when isolation is required and the host has none", async () => {
    const host = await findUserCodeHost({
      python: "python3",
      policy: "required",
      path: undefined,
      isRoot: false,
      memoryBytes: 1,
      log: silent,
    });
    expect(host.languages).to.deep.equal(["javascript"]);
    const blind = await findUserCodeHost({
      python: spawnSync("sh", ["-c", "command -v python3"]).stdout.toString().trim(),
      policy: "required",
      path: "/nowhere",
      isRoot: false,
      memoryBytes: 1,
      log: silent,
    });
    expect(blind.languages).to.deep.equal(["javascript"]);
    const { manifest } = await tells("def process_tuple(t):\n    return t\n", blind);
    expect(manifest.failure?.reason).to.equal("SANDBOX_UNAVAILABLE");
    expect(manifest.failure?.message).to.match(
      /^This executor refuses Python user code because its host cannot hide processes and files from it/,
    );
  });
});
