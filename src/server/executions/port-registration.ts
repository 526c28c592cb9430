// Ports and consoles an executor reports, checked against the plan the server issued: what determines a port (schema,
// fingerprint, whether people view it) is taken from the plan, never from the report.
import type { ConsoleResult, PortResult } from "../../contract/postern/v1/port_registry.js";
import { AppError, invalid } from "../../core/app-error.js";
import { globalPortId, type OutputPort, type PhysicalPlan } from "../../core/plan.js";
import { portKeyFromWire } from "../../rpc/plan-codec.js";
import { OfferRefused, OUTSIDE_PREFIX } from "../cache/refused-offer.js";
import type { ConsoleRow, PortRow, ReusedPort } from "../repositories/ports.js";
import { requireBelow } from "./result-location.js";

export interface ReportedBy {
  executionId: string;
  attempt: number;
  /** Every URI must lie below it. */
  prefix: string;
  plan: PhysicalPlan;
}

const refuse = (message: string): AppError => new AppError("invalid", "MANIFEST_REFUSED", message);

const outputsOf = new WeakMap<PhysicalPlan, ReadonlyMap<string, OutputPort>>();

/** The output ports of a plan by printed key. */
export function outputPorts(plan: PhysicalPlan): ReadonlyMap<string, OutputPort> {
  const known = outputsOf.get(plan);
  if (known) return known;
  const outputs = new Map(plan.operators.flatMap((o) => o.outputs.map((port) => [globalPortId(port.key), port])));
  outputsOf.set(plan, outputs);
  return outputs;
}

/** Which port of the plan a report is of; refuses ports the plan does not have. */
export function plannedPort(
  { plan }: Pick<ReportedBy, "plan">,
  { key }: PortResult,
): { id: string; output: OutputPort } {
  const id = globalPortId(portKeyFromWire(key));
  const output = outputPorts(plan).get(id);
  if (output) return { id, output };
  throw refuse(`The plan has no output port ${id}; report only ports of the plan.`);
}

/** Reported ports as rows; one row per port, the last report wins. Refuses ports the plan does not have. */
export function portRows(by: ReportedBy, ports: PortResult[]): Omit<PortRow, "registeredAt">[] {
  const rows = new Map<string, Omit<PortRow, "registeredAt">>();
  for (const port of ports) {
    const { id, output } = plannedPort(by, port);
    requireOwnObject(by, id, port);
    if (port.rowCount < 0n || port.byteCount < 0n || port.computeMs < 0n)
      throw invalid(`Port ${id} has a negative count.`);
    rows.set(id, {
      executionId: by.executionId,
      globalPortId: id,
      ...output.key,
      uri: port.uri,
      rowCount: port.rowCount,
      byteCount: port.byteCount,
      schema: output.schema,
      subdagHash: output.subdagHash,
      viewed: output.viewed,
      attempt: by.attempt,
      computeMs: port.computeMs,
    });
  }
  return [...rows.values()];
}

/** An object that is offered to the cache from elsewhere is worse than one that is reported. */
function requireOwnObject({ executionId, prefix }: ReportedBy, globalPortId: string, port: PortResult): void {
  const { uri, subdagHash, reservation } = port;
  try {
    requireBelow(prefix, uri, `Port ${globalPortId}`);
  } catch (error) {
    if (reservation === 0n) throw error;
    throw new OfferRefused({ executionId, globalPortId, subdagHash, uri, why: OUTSIDE_PREFIX });
  }
}

/** A reported port whose rows are another execution's: counts are taken from the ledger, the rest from the plan. */
export function reusedPort(by: Pick<ReportedBy, "executionId" | "attempt" | "plan">, port: PortResult): ReusedPort {
  const { id, output } = plannedPort(by, port);
  return {
    executionId: by.executionId,
    attempt: by.attempt,
    globalPortId: id,
    ...output.key,
    uri: port.uri,
    schema: output.schema,
    subdagHash: output.subdagHash,
    viewed: output.viewed,
  };
}

/** Reported console files as rows; one row per operator and worker, the last report wins. */
export function consoleRows(by: ReportedBy, consoles: ConsoleResult[]): ConsoleRow[] {
  const operators = new Set(by.plan.operators.map((o) => o.operatorId));
  const rows = new Map<string, ConsoleRow>();
  for (const { operatorId, worker, uri, lineCount, byteCount } of consoles) {
    if (!operators.has(operatorId)) throw refuse(`The plan has no operator ${JSON.stringify(operatorId)}.`);
    requireBelow(by.prefix, uri, `The console of ${operatorId}`);
    if (lineCount < 0n || byteCount < 0n) throw invalid(`The console of ${operatorId} has a negative count.`);
    rows.set(`${operatorId}/${worker}`, { operatorId, worker, uri, lineCount, byteCount });
  }
  return [...rows.values()];
}
