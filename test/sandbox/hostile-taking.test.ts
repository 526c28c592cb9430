import { expect } from "chai";
import type { UserCodeHost } from "../../src/executor/user-code/host.js";
import { expectNoGain, type HostileRun, hostilePlace, PENDING_PYTHON, tries } from "./hostile-runs.js";

const BATCH_MS = 3_000;

describe("a Python function that takes more than its share", function () {
  this.timeout(90_000);
  before(function () {
    if (PENDING_PYTHON) this.skip();
  });
  const place = hostilePlace();
  let impatient: Promise<UserCodeHost> | undefined;

  const runs = async (code: string) => {
    impatient ??= place.hostWith({ batchMs: BATCH_MS });
    return place.run("python", `import os, sys, time, threading, socket\n${code}`, await impatient);
  };
  const expectEnded = (run: HostileRun) => {
    expect([run.state, run.reason]).to.deep.equal(["FAILED", "USER_CODE_ERROR"]);
    expect(run.message).not.to.equal("");
  };

  it(`begets processes without end: they are stopped and gone, and the run fails${PENDING_PYTHON}`, async () => {
    expectEnded(
      await runs(`
def process_tuple(t):
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.001)
`),
    );
  });

  it(`begets processes that each leave their session and parent: they are stopped and gone${PENDING_PYTHON}`, async () => {
    expectEnded(
      await runs(`
def bomb():
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
        except OSError:
            time.sleep(0.001)
def process_tuple(t):
    bomb()
`),
    );
  });

  it(`starts threads without end${PENDING_PYTHON}`, async () => {
    expectEnded(
      await runs(`
def process_tuple(t):
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
`),
    );
  });

  it(`hoards memory in one process${PENDING_PYTHON}`, async () => {
    const run = await runs(`
def process_tuple(t):
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
`);
    expectEnded(run);
    expect(run.message).to.match(/memory/i);
  });

  it(`hoards memory in many processes, each of them modest${PENDING_PYTHON}`, async () => {
    const run = await runs(`
def process_tuple(t):
    for i in range(40):
        if os.fork() == 0:
            kept = bytearray(os.urandom(1 << 20) * 40)
            time.sleep(600)
    time.sleep(600)
`);
    expectEnded(run);
    expect(run.message).to.match(/memory/i);
  });

  it(`hoards shared memory, which is in no process's private part${PENDING_PYTHON}`, async () => {
    const run = await runs(`
import mmap
def process_tuple(t):
    kept = []
    while True:
        m = mmap.mmap(-1, 32 << 20)
        for at in range(0, 32 << 20, 4096):
            m[at] = 1
        kept.append(m)
`);
    expectEnded(run);
    expect(run.message).to.match(/memory/i);
  });

  it(`hides memory where no process is charged for it: in files without a name, segments, queues${PENDING_PYTHON}`, async () => {
    expectNoGain(
      await place.run(
        "python",
        tries({
          "a file in memory": "os.memfd_create('hoard') + 1",
          "a shared segment": "syscall(29, 0, 1 << 30, 0o1600) or 1",
          "a message queue": "syscall(68, 0, 0o1600) or 1",
          "a semaphore set": "syscall(64, 0, 100, 0o1600) or 1",
          "locked memory": "os.strerror(0) if libc.mlock(ctypes.create_string_buffer(1 << 20), 1 << 20) == 0 else ''",
        }),
      ),
    );
  });

  it(`fills its directory with bytes and with files: both end early${PENDING_PYTHON}`, async () => {
    const run = await place.run(
      "python",
      tries(
        {
          "a file beyond its size": "sparse()",
          "a hundred and ten megabytes": "fill(110)",
          "twenty thousand files": "many(20_000)",
        },
        `
def sparse():
    with open('/tmp/sparse', 'w') as file:
        file.truncate(1 << 30)
    return 'sparse'
def fill(megabytes):
    for i in range(megabytes):
        write('/tmp/%d' % i, 'x' * (1 << 20))
    return 'full'
def many(files):
    for i in range(files):
        write('/tmp/empty-%d' % i, '')
    return 'full'
`,
      ),
    );
    expectNoGain(run);
  });

  it(`loops for ever${PENDING_PYTHON}`, async () => {
    const run = await runs("def process_tuple(t):\n    while True: pass");
    expectEnded(run);
    expect(run.message).to.match(/longer than|too long|time/i);
  });

  it(`loops for ever, deaf to every exception and signal${PENDING_PYTHON}`, async () => {
    const run = await runs(`
import signal
def process_tuple(t):
    for name in signal.valid_signals():
        try: signal.signal(name, signal.SIG_IGN)
        except OSError: pass
    while True:
        try:
            while True: pass
        except BaseException: pass
`);
    expectEnded(run);
  });

  it(`spins in many processes at once, longer than its processors' time allows${PENDING_PYTHON}`, async () => {
    const frugal = await place.hostWith({ limits: { cpus: 0.2, cpuBurstMs: 1_000 } });
    const code = `
import os
def process_tuple(t):
    for i in range(4): os.fork()
    while True: pass
`;
    const run = await place.run("python", code, frugal);
    expectEnded(run);
    expect(run.message).to.match(/processor/);
  });

  it(`prints without end: the run fails in time, and what people get stays short${PENDING_PYTHON}`, async () => {
    const run = await runs("def process_tuple(t):\n    while True: print('x' * 1000)");
    expectEnded(run);
    expect(run.everything.length).to.be.below(4 * 1024 * 1024);
  });

  it(`prints one line without an end${PENDING_PYTHON}`, async () => {
    const run = await runs("def process_tuple(t):\n    while True: sys.stdout.write('x' * 65536)");
    expectEnded(run);
    expect(run.everything.length).to.be.below(4 * 1024 * 1024);
  });

  it(`gives one row beyond any size${PENDING_PYTHON}`, async () => {
    expectEnded(await runs("def process_tuple(t):\n    return {'v': 'x' * (80 << 20)}"));
  });

  it(`opens descriptors without end${PENDING_PYTHON}`, async () => {
    const run = await runs(`
def process_tuple(t):
    kept = []
    for i in range(100):
        kept.append(socket.socketpair())
    return {'v': 'held two hundred'}
`);
    expectEnded(run);
    expect(run.message).to.match(/Too many open files/);
  });
});
