// What can be known about numbers of rows without counting: pure inference from the counts that are known. What cannot
// be inferred stays unknown; nothing is estimated.
import { ROW_PRESERVING_TYPES } from "./operators/row-preserving.js";
import { type DatasetScan, globalPortId, operatorKey, type PhysicalOperator, type PhysicalPlan } from "./plan.js";

export interface RowCounts {
  inputRows: bigint | undefined;
  /** Of all output ports together. */
  outputRows: bigint | undefined;
}

/**
 * `known` holds the rows of output ports, by global port id, as far as they were counted; the reply, by operator key,
 * adds what follows from them.
 */
export function inferRowCounts(plan: PhysicalPlan, known: ReadonlyMap<string, bigint>): Map<string, RowCounts> {
  const sources = sourcesByOperator(plan);
  const ports = inferRowsOfPorts(plan, known, sources);
  return new Map(
    plan.operators.map((operator) => [
      operatorKey(operator),
      {
        inputRows: operator.inputs.length > 0 ? sum(sources.get(operatorKey(operator)), ports) : undefined,
        outputRows: sum(
          operator.outputs.map(({ key }) => globalPortId(key)),
          ports,
        ),
      },
    ]),
  );
}

/** The same of output ports alone, by global port id. */
export function inferRowsOfPorts(
  plan: PhysicalPlan,
  known: ReadonlyMap<string, bigint>,
  sources = sourcesByOperator(plan),
): Map<string, bigint> {
  const ports = new Map(known);
  const learn = (id: string, rows: bigint | undefined) => {
    if (rows !== undefined && !ports.has(id)) ports.set(id, rows);
  };
  const inputOf = (operator: PhysicalOperator) => sum(sources.get(operatorKey(operator)), ports);
  const learnForwards = () => {
    for (const operator of plan.operators)
      if (preserves(operator) || operator.type === "union") learn(onlyOutput(operator), inputOf(operator));
  };

  for (const operator of plan.operators) {
    const { implementation } = operator;
    if (implementation.kind === "scan") learn(onlyOutput(operator), scannedRows(implementation.scan));
  }
  learnForwards();
  for (const operator of plan.operators.toReversed()) {
    const from = sources.get(operatorKey(operator)) ?? [];
    if (preserves(operator) && from.length === 1) learn(from[0]!, ports.get(onlyOutput(operator)));
  }
  // What was learnt backwards may feed other branches forwards.
  learnForwards();
  return ports;
}

const preserves = (operator: PhysicalOperator) => ROW_PRESERVING_TYPES.has(operator.type);

/** These operators have one. */
const onlyOutput = (operator: PhysicalOperator): string => globalPortId(operator.outputs[0]!.key);

function scannedRows(scan: DatasetScan): bigint | undefined {
  return scan.rowCount === 0n || scan.malformedRows === "skip" ? undefined : rowsInReach(scan);
}

/** Rows a scan gives of a file whose rows all fit. */
export function rowsInReach({ rowCount, offset, limit }: DatasetScan): bigint {
  const left = rowCount > offset ? rowCount - offset : 0n;
  return limit !== undefined && limit < left ? limit : left;
}

/** Global ids of the ports an operator reads, once per link. */
function sourcesByOperator(plan: PhysicalPlan): Map<string, string[]> {
  const sources = new Map<string, string[]>();
  for (const { from, to } of plan.links)
    sources.set(operatorKey(to), [...(sources.get(operatorKey(to)) ?? []), globalPortId(from)]);
  return sources;
}

function sum(ports: string[] | undefined, rows: ReadonlyMap<string, bigint>): bigint | undefined {
  let total = 0n;
  for (const id of ports ?? []) {
    const count = rows.get(id);
    if (count === undefined) return undefined;
    total += count;
  }
  return ports ? total : undefined;
}
