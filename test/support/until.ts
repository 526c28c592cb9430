import { setTimeout as delay } from "node:timers/promises";

/** Waits until `holds` says so; rejects after `withinMs`, which is generous and no promise. */
export async function until(holds: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Not within ${withinMs} ms: ${holds}`);
    await delay(5);
  }
}
