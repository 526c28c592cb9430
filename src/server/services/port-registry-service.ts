// PortRegistry: which output ports exist, where their rows are, and the rows themselves.
import type {
  PortRegistryServer,
  PortResolution,
  PortSelector,
  ReadPortRequest,
  ResolvePortsRequest,
} from "../../contract/postern/v1/port_registry.js";
import { type AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import { computingUnitId, projectId, workflowId } from "../../core/ids.js";
import { globalPortId, parseGlobalPortId } from "../../core/plan.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { portKeyFromWire, schemaToWire } from "../../rpc/plan-codec.js";
import { requireResource } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import { readableExecution, requireWordOfPool, writableExecution } from "../access/execution-access.js";
import { forgetObjects } from "../cache/broken-objects.js";
import { auditingRefusals } from "../cache/refused-offer.js";
import type { Database, Queryable } from "../database/database.js";
import { storedPlan } from "../executions/execution-plan.js";
import { consoleToWire, portToWire } from "../executions/execution-wire.js";
import { consoleRows, portRows, type ReportedBy } from "../executions/port-registration.js";
import { executionPrefix } from "../executions/result-location.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { lockReportable } from "../repositories/execution-leases.js";
import { type ExecutionRow, executionById, latestExecution, lockExecutions } from "../repositories/executions.js";
import {
  deletePorts,
  listConsoles,
  listPorts,
  type PortRow,
  portsByGlobalId,
  portsByLogicalPort,
  upsertConsoles,
  upsertPorts,
} from "../repositories/ports.js";
import { present } from "../request-fields.js";
import { isDamaged, type ResultReader } from "../results/result-reader.js";

interface Deps {
  db: Database;
  resultRoot: string;
  results: ResultReader;
}

const MOST_PORTS = 1_000;
const MOST_ROWS = 10_000;
const DEFAULT_ROWS = 100;

export function portRegistryService({
  db,
  resultRoot,
  results,
}: Deps): ServiceMethods<PortRegistryServer, CallContext> {
  /** Runs `write` while the execution is locked, live, and the caller's fence holds. */
  async function report<T>(
    caller: Caller,
    id: string,
    write: (tx: Queryable, by: ReportedBy) => Promise<T>,
  ): Promise<T> {
    const seen = await writableExecution(db, caller, id);
    requireWordOfPool(caller, seen);
    const actor = caller.kind === "user" ? caller.subject : `execution ${id}`;
    return auditingRefusals(db, actor, () =>
      db.transaction(async (tx) => {
        const row = await lockReportable(tx, id, caller.kind === "execution" ? caller.epoch : null);
        if (!row) throw await reportRefusal(tx, caller, seen);
        const plan = await storedPlan(tx, id);
        return write(tx, { executionId: id, attempt: row.attempt, prefix: executionPrefix(resultRoot, row), plan });
      }),
    );
  }

  return {
    async registerPorts({ executionId, ports }, { caller }) {
      requireAtMost(MOST_PORTS, ports.length, "ports");
      const stored = await report(caller, executionId, async (tx, by) => {
        const rows = portRows(by, ports);
        await upsertPorts(tx, rows);
        return portsByGlobalId(
          tx,
          executionId,
          rows.map((row) => row.globalPortId),
        );
      });
      const byId = new Map(stored.map((row) => [row.globalPortId, row]));
      return { ports: ports.map((port) => portToWire(byId.get(globalPortId(portKeyFromWire(port.key)))!)) };
    },

    async registerConsoles({ executionId, consoles }, { caller }) {
      requireAtMost(MOST_PORTS, consoles.length, "consoles");
      await report(caller, executionId, (tx, by) => upsertConsoles(tx, executionId, consoleRows(by, consoles)));
      return {};
    },

    async resolvePorts(request, { caller }) {
      requireAtMost(MOST_PORTS, request.ports.length, "ports");
      const row = await targetExecution(db, caller, request.of);
      return { executionId: row.id, resolutions: await resolve(db, row.id, request.ports) };
    },

    async listPorts({ executionId }, { caller }) {
      const { id } = await readableExecution(db, caller, executionId);
      const [ports, consoles] = await Promise.all([listPorts(db, id), listConsoles(db, id)]);
      return { ports: ports.map(portToWire), consoles: consoles.map(consoleToWire) };
    },

    async readPort(request, { caller, signal }) {
      const { id, projectId } = await readableExecution(db, caller, request.executionId);
      const port = await requirePort(db, id, request);
      const { offset, columns, where } = request;
      const wanted = { offset, limit: rowLimit(request), columns, where };
      const page = await results.readRows(port, wanted, signal).catch(async (error: unknown) => {
        // What cannot be read must not be reused either: run again, the workflow computes it.
        if (isDamaged(error)) {
          const actor = caller.kind === "user" ? caller.subject : `execution ${id}`;
          await forgetObjects(db, { projectId, uris: [port.uri], actor, resource: `execution "${id}"` });
        }
        throw error;
      });
      return { schema: schemaToWire(page.schema), rows: page.rows, totalRows: page.totalRows ?? port.rowCount };
    },

    async clearExecution({ executionId }, { caller }) {
      const row = await writableExecution(db, caller, executionId);
      const releasedUris = await db.transaction(async (tx) => {
        // The row lock keeps a completion from remembering what is let go here; an executor's epoch must still hold.
        const locked =
          caller.kind === "execution"
            ? await lockReportable(tx, row.id, caller.epoch)
            : (await lockExecutions(tx, [row.id]))[0];
        if (!locked) throw await reportRefusal(tx, caller, row);
        const { forgotten, released: uris } = await deletePorts(tx, [row.id]);
        if (forgotten > 0) {
          const actor = caller.kind === "user" ? caller.subject : `execution ${row.id}`;
          const resource = `execution "${row.id}"`;
          await addAuditEntry(tx, {
            actor,
            action: "ClearExecution",
            projectId: row.projectId,
            resource,
            detail: { forgotten, uris },
          });
        }
        return uris;
      });
      return { releasedUris };
    },
  };
}

/** Why an execution cannot be reported on; asked within the transaction, which holds the connection it needs. */
async function reportRefusal(tx: Queryable, caller: Caller, seen: ExecutionRow): Promise<AppError> {
  const row = await executionById(tx, seen.id);
  if (!row) return notFound(`execution "${seen.id}"`);
  if (caller.kind === "execution" && row.epoch !== caller.epoch) return staleLease(caller.epoch, row.epoch);
  return illegalTransition(row.state, "reported on");
}

function requireAtMost(most: number, count: number, what: string): void {
  if (count > most) throw invalid(`${count} ${what} are too many for one call; send at most ${most}.`);
}

function rowLimit({ limit, offset }: ReadPortRequest): number {
  if (limit < 0 || limit > MOST_ROWS) throw invalid(`limit must be 0 to ${MOST_ROWS}; read more in pages.`);
  if (offset < 0n) throw invalid("offset must not be negative.");
  return limit === 0 ? DEFAULT_ROWS : limit;
}

async function targetExecution(db: Queryable, caller: Caller, of: ResolvePortsRequest["of"]): Promise<ExecutionRow> {
  if (of === undefined) throw invalid("Name an execution, or a workflow and computing unit.");
  if (of.$case === "executionId") return readableExecution(db, caller, of.value);
  const latest = { projectId: projectId(of.value.projectId), workflowId: workflowId(of.value.workflowId) };
  if (caller.kind !== "execution") {
    await requireResource(db, caller, { projectId: latest.projectId, kind: "WORKFLOW", id: latest.workflowId }, "READ");
  }
  const unit = of.value.computingUnitId === "" ? null : computingUnitId(of.value.computingUnitId);
  const row = await latestExecution(db, { ...latest, computingUnitId: unit });
  // An execution token speaks for one execution; whatever else the workflow ran does not exist for it.
  if (!row || (caller.kind === "execution" && caller.executionId !== row.id)) {
    throw notFound(`execution of workflow "${latest.workflowId}"`);
  }
  return readableExecution(db, caller, row.id);
}

/** Answers each selector, with at most two statements for all of them. */
async function resolve(db: Queryable, executionId: string, selectors: PortSelector[]): Promise<PortResolution[]> {
  const wanted = selectors.map(readSelector);
  const ids = wanted.flatMap((w) => (w.kind === "global" ? [w.id] : []));
  const logical = wanted.flatMap((w) => (w.kind === "logical" ? [w.port] : []));
  const [byId, byLogical] = await Promise.all([
    ids.length > 0 ? portsByGlobalId(db, executionId, ids) : [],
    logical.length > 0 ? portsByLogicalPort(db, executionId, logical) : [],
  ]);
  const found = new Map<string, PortRow>();
  for (const row of byId) found.set(row.globalPortId, row);
  for (const row of byLogical) found.set(logicalKey(row), row);
  return wanted.map((w) => {
    const row = found.get(w.kind === "global" ? w.id : logicalKey(w.port));
    return { port: row && portToWire(row) };
  });
}

const logicalKey = ({ operatorId, portId }: { operatorId: string; portId: number }): string =>
  `${operatorId} ${portId}`;

type Wanted = { kind: "global"; id: string } | { kind: "logical"; port: { operatorId: string; portId: number } };

function readSelector({ by }: PortSelector): Wanted {
  if (by === undefined) throw invalid("A port selector names a logical port, a physical port or a global port id.");
  if (by.$case === "logicalPort") return { kind: "logical", port: by.value };
  if (by.$case === "physicalPort") return { kind: "global", id: globalPortId(portKeyFromWire(by.value)) };
  const key = parseGlobalPortId(by.value);
  if (!key) throw invalid(`${JSON.stringify(by.value.slice(0, 300))} is no global port id.`);
  return { kind: "global", id: globalPortId(key) };
}

async function requirePort(db: Queryable, executionId: string, { port }: ReadPortRequest): Promise<PortRow> {
  const wanted = readSelector(present(port, "port"));
  const [row] =
    wanted.kind === "global"
      ? await portsByGlobalId(db, executionId, [wanted.id])
      : await portsByLogicalPort(db, executionId, [wanted.port]);
  if (row) return row;
  const name = wanted.kind === "global" ? wanted.id : `port ${wanted.port.portId} of "${wanted.port.operatorId}"`;
  throw notFound(`result ${name} of execution "${executionId}"`);
}
