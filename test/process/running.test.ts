import { expect } from "chai";
import { pino } from "pino";
import { createBackoff, jitteredDelayMs } from "../../src/process/backoff.js";
import { keepRunning } from "../../src/process/keep-running.js";
import type { Logger } from "../../src/process/log.js";
import { createShutdown } from "../../src/process/shutdown.js";
import { deferred } from "../support/deferred.js";

function recordingLog(): { log: Logger; levels: number[] } {
  const levels: number[] = [];
  return { levels, log: pino<never>({}, { write: (line: string) => void levels.push(JSON.parse(line).level) }) };
}

describe("Backoff", () => {
  it("doubles up to its limit, spread over the upper half", () => {
    const options = { firstMs: 100, maxMs: 1_000 };
    const longest = [0, 1, 2, 3, 4, 60].map((failures) => jitteredDelayMs(failures, { ...options, random: () => 1 }));
    const shortest = [0, 1, 2, 3, 4, 60].map((failures) => jitteredDelayMs(failures, { ...options, random: () => 0 }));
    expect(longest).to.deep.equal([100, 200, 400, 800, 1_000, 1_000]);
    expect(shortest).to.deep.equal([50, 100, 200, 400, 500, 500]);
  });

  it("is reset by a stable stretch, not by a server that accepts and then drops", () => {
    const backoff = createBackoff({ firstMs: 100, maxMs: 1_000, stableMs: 5_000, random: () => 1 });
    expect([0, 10, 4_999].map((upForMs) => backoff.nextDelayMs(upForMs))).to.deep.equal([100, 200, 400]);
    expect([5_000, 0].map((upForMs) => backoff.nextDelayMs(upForMs))).to.deep.equal([100, 200]);
  });
});

describe("Work that is kept running", () => {
  it("goes on after failures, says so louder when they repeat, and says when it works again", async () => {
    const { log, levels } = recordingLog();
    const end = new AbortController();
    let steps = 0;
    await keepRunning({ name: "test", log, signal: end.signal, firstMs: 1, maxMs: 1 }, async () => {
      steps++;
      if (steps <= 6) throw new Error("broken");
      if (steps === 8) end.abort();
    });
    expect(steps).to.equal(8);
    expect(levels).to.deep.equal([40, 40, 40, 40, 50, 50, 30]);
  });

  it("pauses as after a first failure when a step has gone well in between, however many failed in its life", async () => {
    const pauses: number[] = [];
    const log = pino<never>({}, { write: (line: string) => void pauses.push(JSON.parse(line).pauseMs ?? 0) });
    const end = new AbortController();
    let steps = 0;
    const options = { name: "test", log, signal: end.signal, firstMs: 2, maxMs: 10_000, random: () => 1 };
    await keepRunning(options, async () => {
      steps++;
      if (steps === 26) end.abort();
      if (steps % 2 === 1 || steps > 20) throw new Error("now and then");
    });
    const failures = pauses.filter((pauseMs) => pauseMs > 0);
    expect(failures).to.deep.equal([...Array.from({ length: 10 }, () => 2), 2, 4, 8, 16, 32]);
  });

  it("ends without a word when the signal aborts, during a pause as during a step", async () => {
    const { log, levels } = recordingLog();
    for (const everyMs of [0, 3_600_000]) {
      const end = new AbortController();
      const begun = deferred();
      const running = keepRunning({ name: "test", log, signal: end.signal, everyMs }, async (signal) => {
        begun.resolve();
        if (everyMs > 0) return;
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      });
      await begun.promise;
      end.abort();
      await running;
    }
    expect(levels).to.be.empty;
  });
});

describe("Shutdown", () => {
  const quiet = () => recordingLog().log;

  it("closes what was opened last first, one after the other, also when one fails", async () => {
    const { log, levels } = recordingLog();
    const shutdown = createShutdown({ log, signals: [] });
    const closed: string[] = [];
    shutdown.add("database", () => closed.push("database"));
    shutdown.add("broken", () => Promise.reject(new Error("no")));
    shutdown.add("server", async () => {
      await new Promise(setImmediate);
      closed.push("server");
    });
    await shutdown.stop("test");
    expect(closed).to.deep.equal(["server", "database"]);
    expect(levels).to.include(50);
  });

  it("begins at the signal, aborts its own, and closes each part once however often it is asked", async () => {
    const shutdown = createShutdown({ log: quiet(), signals: ["SIGUSR2"] });
    let closed = 0;
    shutdown.add("part", () => closed++);
    process.kill(process.pid, "SIGUSR2");
    await shutdown.stopped;
    await shutdown.stop("again");
    expect(shutdown.signal.aborted).to.equal(true);
    expect(closed).to.equal(1);
  });

  it("ends the process at once at the second signal, and when closing takes too long", async () => {
    const exits: number[] = [];
    const ended = deferred();
    const exit = (code: number) => {
      exits.push(code);
      ended.resolve();
    };
    const first = createShutdown({ log: quiet(), signals: ["SIGUSR2"], exit });
    const hanging = deferred();
    first.add("hanging", () => hanging.promise);
    void first.stop("test");
    process.kill(process.pid, "SIGUSR2");
    await ended.promise;
    hanging.resolve();
    await first.stopped;
    const late = deferred();
    const second = createShutdown({
      log: quiet(),
      signals: [],
      deadlineMs: 10,
      exit: (code) => {
        exits.push(code);
        late.resolve();
      },
    });
    second.add("slow", () => late.promise);
    await second.stop("test");
    expect(exits).to.deep.equal([1, 1]);
  });
});
