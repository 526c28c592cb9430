import { expect } from "chai";
import { createLogger } from "../../src/process/log.js";
import type { Queryable } from "../../src/server/database/database.js";
import { createQueueDispatcher, type QueueTaker } from "../../src/server/executions/queue-dispatcher.js";

const unit = { projectId: "p", computingUnitId: "u" };
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A queue in memory, and executors that take from it. */
function setting({ statements = [] as string[] } = {}) {
  const queue: string[] = [];
  let claims = 0;
  let hint = () => {};
  const taken = new Map<string, string[]>();
  const db: Queryable = {
    async query<Row>(sql: string) {
      statements.push(sql);
      return (queue.length > 0 ? [unit] : []) as Row[];
    },
  };
  const hints = {
    onQueue: (_: string, __: string, look: () => void) => {
      hint = look;
      return () => {
        hint = () => {};
      };
    },
  };
  const dispatcher = createQueueDispatcher({ db, hints, log: createLogger("test", "silent") });
  const executor = (name: string, { slots = 1, refuses = [] as string[], fails = false } = {}): QueueTaker => {
    const mine: string[] = [];
    taken.set(name, mine);
    return {
      hasRoom: () => mine.length < slots,
      async takeOne() {
        claims++;
        if (fails) throw new Error("The database is away.");
        const index = queue.findIndex((id) => !refuses.includes(id));
        if (index < 0) return refuses.length > 0 ? "not for me" : "queue empty";
        mine.push(...queue.splice(index, 1));
        return "taken";
      },
    };
  };
  return { queue, taken, dispatcher, executor, hint: () => hint(), claims: () => claims, statements };
}

describe("The queue dispatcher", () => {
  it("costs one claim for each queued execution and one more, however many executors wait", async () => {
    const { queue, taken, dispatcher, executor, hint, claims } = setting();
    for (let i = 0; i < 1_000; i++) dispatcher.join(unit, executor(`e${i}`));
    await settled();
    const before = claims();
    queue.push("a", "b", "c");
    for (let i = 0; i < 50; i++) hint();
    await settled();
    expect(claims() - before).to.be.at.most(5); // three, one that finds nothing, and one for the hints meanwhile
    expect([...taken.values()].flat()).to.have.members(["a", "b", "c"]);
  });

  it("asks nothing of the database while nobody waits, and one statement a second for all that do", async () => {
    const { dispatcher, executor, statements } = setting();
    const stop = new AbortController();
    const idle = dispatcher.run(stop.signal);
    await settled();
    expect(statements).to.have.length(0);
    stop.abort();
    await idle;
    for (let i = 0; i < 1_000; i++)
      dispatcher.join({ projectId: "p", computingUnitId: `u${i % 10}` }, executor(`e${i}`));
    const again = new AbortController();
    const running = dispatcher.run(again.signal);
    await settled();
    expect(statements).to.have.length(1);
    again.abort();
    await running;
  });

  it("lets executors take turns", async () => {
    const { queue, taken, dispatcher, executor, hint } = setting();
    for (const name of ["a", "b", "c"]) dispatcher.join(unit, executor(name, { slots: 4 }));
    await settled();
    queue.push("1", "2", "3", "4", "5", "6");
    hint();
    await settled();
    expect([...taken.values()].map((ids) => ids.length)).to.deep.equal([2, 2, 2]);
  });

  it("asks the others when what is queued is not for one of them, and stops when it is for none", async () => {
    const { queue, taken, dispatcher, executor, hint, claims } = setting();
    dispatcher.join(unit, executor("picky", { refuses: ["x", "y"] }));
    dispatcher.join(unit, executor("choosy", { refuses: ["y"] }));
    await settled();
    const before = claims();
    queue.push("x", "y");
    hint();
    await settled();
    expect(taken.get("choosy")).to.deep.equal(["x"]);
    expect(queue).to.deep.equal(["y"]);
    expect(claims() - before).to.be.at.most(6);
  });

  it("keeps its executors when a look fails, and looks again", async () => {
    const { queue, taken, dispatcher, executor, hint } = setting();
    const broken = dispatcher.join(unit, executor("broken", { fails: true }));
    dispatcher.join(unit, executor("well"));
    queue.push("x");
    hint();
    await settled();
    expect(queue).to.deep.equal(["x"]);
    broken.leave();
    hint();
    await settled();
    expect(taken.get("well")).to.deep.equal(["x"]);
  });

  it("gives nothing to an executor that left, nor to one without room", async () => {
    const { queue, taken, dispatcher, executor } = setting();
    const gone = dispatcher.join(unit, executor("gone"));
    gone.leave();
    const full = dispatcher.join(unit, executor("full", { slots: 0 }));
    queue.push("x");
    full.look();
    await settled();
    expect([...taken.values()].flat()).to.deep.equal([]);
  });
});
