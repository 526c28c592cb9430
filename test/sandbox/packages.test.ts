import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { expectNoGain, hostilePlace, PENDING_PYTHON, tries } from "./hostile-runs.js";

const PANDAS = fileURLToPath(new URL("../../.build/python-venv/bin/python", import.meta.url));
const LEAST_BYTES = 128 * 1024 * 1024;

const pending =
  PENDING_PYTHON || (existsSync(PANDAS) ? "" : " (pending: scripts/python-packages.sh has made no .build/python-venv)");

describe("packages of the interpreter, inside the sandbox", function () {
  this.timeout(60_000);
  before(function () {
    if (pending && !process.env.CI) this.skip();
  });
  const place = hostilePlace();

  it(`are imported with the least memory an executor gives, and start no threads${pending}`, async () => {
    const host = await place.hostWith({ python: PANDAS, memoryBytes: LEAST_BYTES });
    const code = `
import os
import numpy, pandas
def process_tuple(t):
    product = numpy.ones((200, 200)) @ numpy.ones((200, 200))
    total = pandas.DataFrame({'a': range(1000)}).a.sum()
    return {'v': '%d %d %d' % (product[0][0], total, len(os.listdir('/proc/self/task')))}
`;
    const run = await place.run("python", code, host);
    expect([run.message, run.value]).to.deep.equal(["", "200 499500 1"]);
  });

  it(`cannot be changed, and bring none of their neighbours along${pending}`, async () => {
    const host = await place.hostWith({ python: PANDAS, memoryBytes: LEAST_BYTES });
    const run = await place.run(
      "python",
      tries({
        "a file of the package": "write(__import__('pandas').__file__)",
        "a file beside it": "write(os.path.dirname(__import__('pandas').__file__) + '/../hostile.py')",
        "what lies beside the environment":
          "[n for n in os.listdir(os.path.dirname(sys.prefix)) if n != os.path.basename(sys.prefix)]",
        "packages of the user": "[p for p in sys.path if '.local' in p]",
      }),
      host,
    );
    expectNoGain(run);
  });
});
