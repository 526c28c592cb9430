import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import type { Language } from "../../src/core/plan.js";
import { PYTHON, tried } from "../support/function-runs.js";
import { thisHost } from "../support/plan-runs.js";

const LIMIT_MS = 2_500;
const PAUSED_MS = 3_500;

const CODE: Record<Language, { entryPoint: string; code: string }> = {
  javascript: {
    entryPoint: "processTuple",
    code: "function processTuple(t) { console.log('begun'); const end = Date.now() + 300; while (Date.now() < end); return t; }",
  },
  python: {
    entryPoint: "process_tuple",
    code: "import time\ndef process_tuple(t):\n    print('begun')\n    end = time.time() + 0.3\n    while time.time() < end: pass\n    return t\n",
  },
};

for (const language of ["javascript", "python"] as const)
  describe(`a paused ${language} function${language === "python" && !PYTHON ? " (pending: this machine has no python3)" : ""}`, () => {
    before(function () {
      if (language === "python" && !PYTHON) this.skip();
    });

    it("stands still within its call, and its time limit with it", async () => {
      let handlers: { pause(): void; resume(): void } | undefined;
      const said: string[] = [];
      const running = tried({
        language,
        ...CODE[language],
        inputs: [{ schema: "n:integer", sql: "select i::integer as n from range(2) r(i)" }],
        outputs: ["n:integer"],
        host: { ...(await thisHost()), batchMs: LIMIT_MS },
        deps: {
          onPause(given) {
            handlers = given;
            return () => {};
          },
          onLine(_, line) {
            said.push(line);
            if (said.length === 1) handlers!.pause();
          },
        },
      });
      while (said.length === 0) await delay(20);
      await delay(PAUSED_MS);
      expect(said).to.have.length(1);
      handlers!.resume();
      const { rows, failure } = await running;
      expect(failure?.message).to.equal(undefined);
      expect(rows[0]).to.deep.equal([[0], [1]]);
      expect(said).to.have.length(2);
    });
  });
