// What can be known about numbers of rows without counting: pure inference from the counts that are known. What cannot
// be inferred stays unknown; nothing is estimated.
import { operatorKey, type PhysicalOperator, type PhysicalPlan } from "./plan.js";

/** Operators that give exactly one row per row they read. */
const ROW_PRESERVING = new Set(["derive", "project", "sort"]);

export interface RowCounts {
  inputRows: bigint | undefined;
  outputRows: bigint | undefined;
}

/** `known` holds the output rows of operators, by key, as far as they were counted; the reply adds what follows from them. */
export function inferRowCounts(plan: PhysicalPlan, known: ReadonlyMap<string, bigint>): Map<string, RowCounts> {
  const outputs = new Map(known);
  for (const operator of plan.operators) {
    const { implementation } = operator;
    if (implementation.kind === "scan" && implementation.scan.rowCount > 0n && !outputs.has(operatorKey(operator)))
      outputs.set(operatorKey(operator), implementation.scan.rowCount);
  }
  const sources = sourcesByOperator(plan);
  const learn = (key: string, rows: bigint | undefined) => {
    if (rows !== undefined && !outputs.has(key)) outputs.set(key, rows);
  };
  const inputOf = (operator: PhysicalOperator) => sum(sources.get(operatorKey(operator)), outputs);

  for (const operator of plan.operators)
    if (preserves(operator) || operator.type === "union") learn(operatorKey(operator), inputOf(operator));
  for (const operator of plan.operators.toReversed()) {
    const from = sources.get(operatorKey(operator)) ?? [];
    if (preserves(operator) && from.length === 1) learn(from[0]!, outputs.get(operatorKey(operator)));
  }
  // What was learnt backwards may feed other branches forwards.
  for (const operator of plan.operators)
    if (preserves(operator) || operator.type === "union") learn(operatorKey(operator), inputOf(operator));

  return new Map(
    plan.operators.map((operator) => [
      operatorKey(operator),
      {
        inputRows: operator.inputs.length > 0 ? inputOf(operator) : undefined,
        outputRows: outputs.get(operatorKey(operator)),
      },
    ]),
  );
}

const preserves = (operator: PhysicalOperator) => ROW_PRESERVING.has(operator.type);

function sourcesByOperator(plan: PhysicalPlan): Map<string, string[]> {
  const sources = new Map<string, string[]>();
  for (const { from, to } of plan.links)
    sources.set(operatorKey(to), [...(sources.get(operatorKey(to)) ?? []), operatorKey(from)]);
  return sources;
}

function sum(keys: string[] | undefined, rows: ReadonlyMap<string, bigint>): bigint | undefined {
  let total = 0n;
  for (const key of keys ?? []) {
    const count = rows.get(key);
    if (count === undefined) return undefined;
    total += count;
  }
  return keys ? total : undefined;
}
