// The edit the demo makes before it runs its workflow again: small, near the end, visible in the result.
import { LogicalPlan } from "../contract/postern/v1/plan.js";

export interface Edit {
  plan: LogicalPlan;
  /** What was changed, for people. */
  what: string;
}

/** Turns the last sort around; where there is none, halves the last limit. */
export function editWorkflow(original: LogicalPlan): Edit {
  const plan = LogicalPlan.decode(LogicalPlan.encode(original).finish());
  const sort = plan.operators.findLast(({ type }) => type === "sort");
  const keys = sort?.properties?.by;
  if (sort && Array.isArray(keys) && keys[0]) {
    const [first, ...rest] = keys as { column: string; descending?: boolean }[];
    const descending = !first!.descending;
    sort.properties = { ...sort.properties, by: [{ ...first, descending }, ...rest] };
    return { plan, what: `operator ${sort.id} sorts by ${first!.column} ${descending ? "descending" : "ascending"}` };
  }
  const limit = plan.operators.findLast(({ type }) => type === "limit");
  if (!limit) return { plan, what: "nothing" };
  const count = Math.max(1, Math.floor(Number(limit.properties?.count ?? 2) / 2));
  limit.properties = { ...limit.properties, count };
  return { plan, what: `operator ${limit.id} keeps ${count} rows` };
}
