import { expect } from "chai";
import type { Database } from "../../src/server/database/database.js";
import {
  type OperatorStatisticsRow,
  upsertOperatorStatistics,
} from "../../src/server/repositories/operator-statistics.js";
import { earlierFigures, smoothedFigures } from "../../src/server/repositories/workflow-history.js";
import { allowBareExecutions, bareExecutions } from "../support/bare-executions.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";

const WORKFLOW = { projectId: "p", workflowId: "w" };

describe("what earlier runs of a workflow tell", () => {
  let database: MigratedDatabase;
  let db: Database;
  beforeEach(async () => {
    database = await createMigratedDatabase();
    db = database.db;
    await allowBareExecutions(db);
  });
  afterEach(() => database.close());

  /** One more run that ended well, with these figures. */
  async function ran(
    figures: Partial<OperatorStatisticsRow>,
    { state = "COMPLETED", trusted = true } = {},
  ): Promise<void> {
    const [executionId] = await bareExecutions(db);
    await db.query("update execution set state = :state, trusted = :trusted where id = :executionId", {
      state,
      trusted,
      executionId: executionId!,
    });
    const row: OperatorStatisticsRow = {
      operatorId: "heavy",
      layer: "main",
      state: "COMPLETED",
      inputRows: null,
      outputRows: null,
      outputBytes: 0n,
      busyMs: 0n,
      progress: 1,
      peakMemoryBytes: 0n,
      malformedRows: 0n,
    };
    await upsertOperatorStatistics(db, [{ ...row, ...figures, executionId: executionId! }]);
  }
  const smoothed = async () =>
    (await smoothedFigures(db, WORKFLOW)).map(({ busyMs, outputRows }) => [busyMs, outputRows]);

  it("weighs each run half as much as the next newer one", async () => {
    for (const busyMs of [700n, 100n, 400n]) await ran({ busyMs });
    expect(await smoothed(), "(4 x 400 + 2 x 100 + 700) / 7").to.deep.equal([[357n, null]]);
  });

  it("gives the newest figures and the smoothed ones at once, each as it would alone", async () => {
    for (const busyMs of [700n, 100n, 400n]) await ran({ busyMs, outputRows: busyMs });
    await ran({ operatorId: "other", busyMs: 3n, progress: 1 });
    const { last, smoothed: both } = await earlierFigures(db, WORKFLOW);
    expect(both).to.have.deep.members(await smoothedFigures(db, WORKFLOW));
    const newest = last.map(({ operatorId, busyMs, outputRows, progress }) => [
      operatorId,
      busyMs,
      outputRows,
      progress,
    ]);
    expect(newest).to.have.deep.members([
      ["heavy", 400n, 400n, 1],
      ["other", 3n, null, 1],
    ]);
  });

  it("smooths a figure over the runs that knew it", async () => {
    await ran({ busyMs: 100n, outputRows: 30n });
    await ran({ busyMs: 100n, outputRows: null });
    await ran({ busyMs: 100n, outputRows: 60n });
    expect(await smoothed(), "(4 x 60 + 30) / 5").to.deep.equal([[100n, 54n]]);
  });

  it("leaves out what the cache served, what failed and what is not trusted", async () => {
    await ran({ busyMs: 100n });
    await ran({ busyMs: 0n, state: "COMPLETED_FROM_CACHE" });
    await ran({ busyMs: 5_000n }, { state: "FAILED" });
    await ran({ busyMs: 5_000n }, { trusted: false });
    expect(await smoothed()).to.deep.equal([[100n, null]]);
  });

  it("knows nothing of a workflow that never ran", async () => {
    expect(await smoothed()).to.deep.equal([]);
  });
});
