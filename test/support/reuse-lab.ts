// Workflows of two branches over one scan, each with a result at its end, and a cache that holds what a test says.
import {
  CacheMode,
  CacheUse,
  ExecutionEvent,
  type PrepareExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { callUnary } from "../../src/rpc/channel.js";
import { physicalPlanFromWire } from "../../src/rpc/plan-codec.js";
import { type CachedPortDraft, putIntoCache } from "./cached-ports.js";
import { PROJECT, type TestServer, UNIT } from "./test-server.js";

export interface ReuseLab extends ReturnType<typeof reuseLab> {}

/** fruit → heavy → order, and fruit → light → few. */
export const branches = ({ limit = 100, view = [] as string[] } = {}) => ({
  operators: [
    { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
    { id: "heavy", type: "filter", properties: { predicate: `weight > ${limit}` } },
    { id: "order", type: "sort", properties: { by: [{ column: "weight", descending: true }] } },
    { id: "light", type: "filter", properties: { predicate: "weight <= 100" } },
    { id: "few", type: "aggregate", properties: { aggregates: [{ function: "count", as: "n" }] } },
  ].map((operator) => ({ ...operator, viewResult: view.includes(operator.id) })),
  links: [
    { from: "fruit", to: "heavy" },
    { from: "heavy", to: "order" },
    { from: "fruit", to: "light" },
    { from: "light", to: "few" },
  ],
});

/** One workflow of a furnished server. */
export function reuseLab(server: TestServer, workflowId: string) {
  const { client, owner } = server;

  const putPlan = (plan: object) =>
    callUnary(
      client.workflows,
      "putWorkflow",
      { requestId: "", projectId: PROJECT, workflowId, plan: LogicalPlan.fromJSON(plan), comment: "" },
      { token: owner },
    );

  const prepare = (
    {
      cache,
      ...more
    }: {
      cache?: { mode?: CacheMode; operators?: Record<string, CacheMode> };
      requestId?: string;
      queue?: boolean;
      costModel?: number;
    } = {},
    token = owner,
  ): Promise<PrepareExecutionResponse> =>
    callUnary(
      client.executions,
      "prepareExecution",
      {
        requestId: "",
        projectId: PROJECT,
        workflowId,
        workflowVersion: 0,
        computingUnitId: UNIT,
        name: "",
        queue: false,
        maxAttempts: 0,
        cache: cache && CacheUse.fromPartial(cache),
        costModel: 0,
        ...more,
      },
      { token },
    );

  /** The plan as it would run without a cache; nothing runs. */
  const planned = async (): Promise<PhysicalPlan> =>
    physicalPlanFromWire((await prepare({ cache: { mode: CacheMode.CACHE_MODE_SKIP } })).spec!.plan!);

  /** Puts the results of these operators of the newest version into the cache; returns their URIs by operator. */
  const cached = async (...drafts: (string | CachedPortDraft)[]) =>
    putIntoCache(
      server,
      await planned(),
      drafts.map((draft) => (typeof draft === "string" ? { operatorId: draft } : draft)),
      { workflowId },
    );

  const get = (executionId: string) => callUnary(client.executions, "getExecution", { executionId }, { token: owner });

  async function log(executionId: string): Promise<ExecutionEvent[]> {
    const rows = await server.db.query<{ number: bigint; body: Buffer }>(
      "select number, body from execution_event where execution_id = :executionId order by number",
      { executionId },
    );
    return rows.map(({ number, body }) => ({ ...ExecutionEvent.decode(body), number }));
  }

  return { workflowId, putPlan, prepare, planned, cached, get, log };
}

/** Operators whose ports an executor need not compute. */
export const spared = ({ spec }: PrepareExecutionResponse): string[] =>
  spec!.alreadyMaterialized.map(({ key }) => key!.operatorId).toSorted();

/** Operators an executor must run. */
export const running = ({ spec }: PrepareExecutionResponse): string[] =>
  spec!
    .plan!.regions.filter(({ cached }) => !cached)
    .flatMap(({ operators }) => operators.map(({ operatorId }) => operatorId))
    .toSorted();
