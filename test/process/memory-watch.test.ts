import { spawn } from "node:child_process";
import { expect } from "chai";
import { watchMemory } from "../../src/process/memory-watch.js";

const MIB = 1024 * 1024;
/** A process that holds so much memory. */
const holding = (mib: number) =>
  spawn(process.execPath, ["-e", `globalThis.held = Buffer.alloc(${mib * MIB}, 1); setInterval(() => {}, 1000)`]);

describe("a memory watch", () => {
  it("tells once of a process that holds more than it may, and of no other", async () => {
    const [large, small] = [holding(400), holding(1)];
    let told = 0;
    const ends: (() => void)[] = [];
    try {
      ends.push(watchMemory(small.pid, 300 * MIB, () => expect.fail("The small one holds less.")));
      await new Promise<void>((resolve) => {
        const exceeded = () => {
          told++;
          setTimeout(resolve, 100);
        };
        ends.push(watchMemory(large.pid, 300 * MIB, exceeded));
      });
      expect(told).to.equal(1);
    } finally {
      for (const end of ends) end();
      large.kill("SIGKILL");
      small.kill("SIGKILL");
    }
  });

  it("says nothing of a process that is gone", async () => {
    const child = spawn(process.execPath, ["-e", ""]);
    await new Promise((resolve) => child.once("exit", resolve));
    const end = watchMemory(child.pid, 0, () => expect.fail("There is no such process."));
    await new Promise((resolve) => setTimeout(resolve, 100));
    end();
  });
});
