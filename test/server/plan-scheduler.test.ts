import { expect } from "chai";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { createLogger } from "../../src/process/log.js";
import { createPlanScheduler, type PlanScheduler } from "../../src/server/scheduling/plan-scheduler.js";
import { columns, planOf, query, userFunction } from "../support/physical-plans.js";

const N = columns("n:long");
const log = createLogger("test", "silent");

/** Layers of operators, each reading two of the layer before, some of them user functions: many cuts are possible. */
function hardPlan(layers: number, width: number): PhysicalPlan {
  const drafts = [];
  const links: string[] = [];
  for (let layer = 0; layer < layers; layer++)
    for (let i = 0; i < width; i++) {
      const id = `o${layer}-${i}`;
      const step =
        (layer * 7 + i * 3) % 4 === 0 ? userFunction(id, "javascript", N, "", N) : query(id, "union", [N, N], "", N);
      drafts.push({ ...step, inputs: layer === 0 ? [] : [N, N] });
      if (layer === 0) continue;
      links.push(`o${layer - 1}-${i}>${id}`, `o${layer - 1}-${(i * 2 + layer) % width}>${id}:1`);
    }
  return planOf(drafts, links);
}

describe("plan scheduler", () => {
  let scheduler: PlanScheduler;
  afterEach(() => scheduler.close());
  const viewed = new Set<string>();
  const hard = hardPlan(30, 10);

  it("answers for a small plan where it is asked", async () => {
    scheduler = createPlanScheduler({ log, program: new URL("file:///nowhere.js") });
    const { schedule, plan } = await scheduler.schedule(hardPlan(3, 3), viewed, { cost: "ports", deadlineMs: 10_000 });
    expect(schedule.optimal).to.equal(true);
    expect(plan.regions.length).to.be.greaterThan(1);
  });

  it("searches a hard plan on a thread: whoever waits for this server gets answers meanwhile", async () => {
    scheduler = createPlanScheduler({ log });
    const found = scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 1_500 });
    let turns = 0;
    const timer = setInterval(() => turns++, 10);
    const { schedule } = await found;
    clearInterval(timer);
    expect(turns).to.be.greaterThan(10);
    const atOnce = await scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 20 });
    expect(schedule.cost).to.be.at.most(atOnce.schedule.cost);
    expect(schedule.explored).to.be.greaterThan(atOnce.schedule.explored);
  });

  it("answers many at once by the deadline of each, though they share the thread", async () => {
    scheduler = createPlanScheduler({ log });
    const asked = [0, 1, 2].map(() => scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 400 }));
    for (const { plan } of await Promise.all(asked)) expect(plan.regions.length).to.be.greaterThan(1);
  });

  it("makes do with what it found first when the thread breaks", async () => {
    scheduler = createPlanScheduler({ log, program: new URL("data:text/javascript,throw new Error('broken')") });
    const { plan, schedule } = await scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 5_000 });
    expect(schedule.optimal).to.equal(false);
    expect(plan.regions.length).to.be.greaterThan(1);
  });

  it("makes do with it too when the thread does not answer in time", async () => {
    const program = new URL("data:text/javascript,setInterval(() => {}, 1_000)");
    scheduler = createPlanScheduler({ log, program, patienceMs: 50 });
    expect((await scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 100 })).schedule.optimal).to.equal(
      false,
    );
  });

  it("makes do with it at the end of the server", async () => {
    scheduler = createPlanScheduler({ log });
    const found = scheduler.schedule(hard, viewed, { cost: "ports", deadlineMs: 60_000 });
    await scheduler.close();
    expect((await found).plan.regions.length).to.be.greaterThan(1);
  });
});
