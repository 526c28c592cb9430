// Rows that operators fused into a query are estimated to have read and given while it runs: the share of the query that is
// done, of what they are expected to read and give (core/expected-rows.ts). DuckDB counts nothing that could be read
// before a query has ended, and counting within it would cost more than the query (decision 15).
//
// RE1 What is expected of an operator is settled when its first query tells a share; an estimate never exceeds it.
// RE2 An estimate never falls, not when a pause makes the query begin anew either.
// RE3 Nothing is estimated of an operator that has ended.
// RE4 Operators that give rows once they have all of their input, and those behind them, are in the query's second stage.
import { expectedRows, MOST_ROWS } from "../../core/expected-rows.js";
import { groupBy } from "../../core/group-by.js";
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalOperator,
  type PhysicalPlan,
} from "../../core/plan.js";
import type { RowCounts } from "../../core/row-counts.js";
import type { FusedQuery } from "./query-profile.js";
import type { QueryStages } from "./query-share.js";

export interface RowEstimates {
  /** A query is so far. */
  reached(query: Pick<FusedQuery, "ports">, stages: QueryStages): void;
  /** What is estimated of an operator; nothing when no query of it has told a share. */
  of(key: string): RowCounts;
  /** The operator has ended. */
  forget(key: string): void;
}

interface Estimate {
  input: Rows;
  /** The ports it reads, once per link. */
  sources: [port: string, expected: number][];
  outputs: Map<string, Rows>;
}

interface Rows {
  expected: number;
  soFar: number;
}

export function createRowEstimates(deps: {
  plan: PhysicalPlan;
  /** Rows of output ports as far as they are counted, by global port id; it grows while the run goes on. */
  known: ReadonlyMap<string, bigint>;
  /** Rows of operators in earlier runs, by operator key. */
  usual: ReadonlyMap<string, RowCounts>;
}): RowEstimates {
  const { plan, known, usual } = deps;
  const makers = new Map<string, { operator: PhysicalOperator; port: OutputPort }>(
    plan.operators.flatMap((operator) =>
      operator.outputs.map((port) => [globalPortId(port.key), { operator, port }] as const),
    ),
  );
  const incoming = groupBy(plan.links, ({ to }) => operatorKey(to));
  /** By operator key. */
  const estimates = new Map<string, Estimate>();
  /** RE3: keys of operators. */
  const ended = new Set<string>();

  /** RE1 */
  function estimateOf(operator: PhysicalOperator, expectation: () => ReadonlyMap<string, number>): Estimate {
    const key = operatorKey(operator);
    const begun = estimates.get(key);
    if (begun) return begun;
    const expected = expectation();
    const sources = (incoming.get(key) ?? []).map(({ from }): [string, number] => {
      const id = globalPortId(from);
      return [id, expected.get(id) ?? 0];
    });
    const outputs = operator.outputs.map(({ key: port }): [string, Rows] => {
      const id = globalPortId(port);
      return [id, { expected: expected.get(id) ?? 0, soFar: 0 }];
    });
    const input = { expected: total(sources.map(([, rows]) => rows)), soFar: 0 };
    const estimate = { input, sources, outputs: new Map(outputs) };
    estimates.set(key, estimate);
    return estimate;
  }

  return {
    reached({ ports }, stages) {
      let expected: ReadonlyMap<string, number> | undefined;
      const expectation = () => (expected ??= expectedRows(plan, { known, usual }));
      const gathered = new Map<string, boolean>();
      /** RE4 */
      const isGathered = (id: string): boolean => {
        const decided = gathered.get(id);
        if (decided !== undefined) return decided;
        const inputs = ports.get(id)?.inputs.flat();
        const isBlocking = inputs !== undefined && makers.get(id)?.port.blocking === true;
        const decision = isBlocking || (inputs ?? []).some((from) => "port" in from && isGathered(from.port));
        gathered.set(id, decision);
        return decision;
      };
      const shareOf = (id: string): number => (isGathered(id) ? stages.gathered : stages.read);
      for (const id of ports.keys()) {
        const maker = makers.get(id);
        if (!maker || ended.has(operatorKey(maker.operator))) continue;
        const { input, sources, outputs } = estimateOf(maker.operator, expectation);
        raise(input, total(sources.map(([from, rows]) => shareOf(from) * rows)));
        raise(outputs.get(id)!, shareOf(id) * outputs.get(id)!.expected);
      }
    },
    of(key) {
      const estimate = estimates.get(key);
      if (!estimate) return { inputRows: undefined, outputRows: undefined };
      const { input, sources, outputs } = estimate;
      return {
        inputRows: sources.length > 0 ? BigInt(input.soFar) : undefined,
        outputRows: BigInt(total([...outputs.values()].map(({ soFar }) => soFar))),
      };
    },
    forget(key) {
      estimates.delete(key);
      ended.add(key);
    },
  };
}

/** RE1, RE2 */
function raise(rows: Rows, soFar: number): void {
  rows.soFar = Math.max(rows.soFar, Math.min(rows.expected, Math.round(soFar)));
}

const total = (rows: readonly number[]): number =>
  Math.min(
    MOST_ROWS,
    rows.reduce((sum, one) => sum + one, 0),
  );
