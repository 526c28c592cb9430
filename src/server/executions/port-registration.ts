// Ports and consoles an executor reports, checked against the plan the server issued: what determines a port (schema,
// fingerprint, whether people view it) is taken from the plan, never from the report.
import type { ConsoleResult, PortResult } from "../../contract/postern/v1/port_registry.js";
import { AppError, invalid } from "../../core/app-error.js";
import { globalPortId, type OutputPort, type PhysicalPlan } from "../../core/plan.js";
import { portKeyFromWire } from "../../rpc/plan-codec.js";
import type { ConsoleRow, PortRow } from "../repositories/ports.js";
import { requireBelow } from "./result-location.js";

export interface ReportedBy {
  executionId: string;
  attempt: number;
  /** Every URI must lie below it. */
  prefix: string;
  plan: PhysicalPlan;
}

const refuse = (message: string): AppError => new AppError("invalid", "MANIFEST_REFUSED", message);

/** The output ports of a plan by printed key. */
export const outputPorts = (plan: PhysicalPlan): Map<string, OutputPort> =>
  new Map(plan.operators.flatMap((o) => o.outputs.map((port) => [globalPortId(port.key), port])));

/** Reported ports as rows; one row per port, the last report wins. Refuses ports the plan does not have. */
export function portRows(by: ReportedBy, ports: PortResult[]): Omit<PortRow, "registeredAt">[] {
  const planned = outputPorts(by.plan);
  const rows = new Map<string, Omit<PortRow, "registeredAt">>();
  for (const port of ports) {
    const key = portKeyFromWire(port.key);
    const id = globalPortId(key);
    const output = planned.get(id);
    if (!output) throw refuse(`The plan has no output port ${id}; report only ports of the plan.`);
    requireBelow(by.prefix, port.uri, `Port ${id}`);
    if (port.rowCount < 0n || port.byteCount < 0n) throw invalid(`Port ${id} has a negative count.`);
    rows.set(id, {
      executionId: by.executionId,
      globalPortId: id,
      ...key,
      uri: port.uri,
      rowCount: port.rowCount,
      byteCount: port.byteCount,
      schema: output.schema,
      subdagHash: output.subdagHash,
      viewed: output.viewed,
      attempt: by.attempt,
    });
  }
  return [...rows.values()];
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
