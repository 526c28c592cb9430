// Executions that use the port cache, for tests of its server half: workflows with many results, lookups, and what an
// executor says of its ports. A test prepares its executions before anything is remembered: what is prepared later finds
// it then, and asks for nothing.
import {
  type CachePolicy,
  LookupPlanRequest,
  type LookupPlanResponse,
  PortLookup_Outcome as Outcome,
  type PortLookup,
  type WatchKeysResponse,
} from "../../src/contract/postern/v1/cache.js";
import {
  CacheMode,
  type CacheUse,
  type ExecutionEvent,
  type ExecutionSpec,
  type PrepareExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { globalPortId } from "../../src/core/plan.js";
import { bearer, callUnary } from "../../src/rpc/channel.js";
import { portKeyFromWire } from "../../src/rpc/plan-codec.js";
import { event } from "./attached-executor.js";
import { PROJECT, type TestServer, UNIT } from "./test-server.js";

export { CacheMode, Outcome };

/** One of the operators of `putFilters`. */
export const filterId = (i: number): string => `heavier${i}`;

/** A workflow of `count` filters over the fruit, each a result; `from` makes other results of it. */
export async function putFilters(server: TestServer, workflowId: string, count: number, from = 0): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => i);
  const plan = LogicalPlan.fromJSON({
    operators: [
      { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
      ...numbers.map((i) => ({ id: filterId(i), type: "filter", properties: { predicate: `weight > ${from + i}` } })),
    ],
    links: numbers.map((i) => ({ from: "fruit", to: filterId(i) })),
  });
  const workflow = { requestId: "", projectId: PROJECT, workflowId, plan, comment: "" };
  await callUnary(server.client.workflows, "putWorkflow", workflow, { token: server.owner });
}

export interface Prepared {
  executionId: string;
  spec: ExecutionSpec;
  token: string;
}

export async function prepareFor(
  server: TestServer,
  workflowId: string,
  { cache, token = server.owner }: { cache?: CacheUse; token?: string } = {},
): Promise<Prepared> {
  const prepared = (await callUnary(
    server.client.executions,
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
      cache,
      costModel: 0,
    },
    { token },
  )) as PrepareExecutionResponse;
  return { executionId: prepared.execution!.id, spec: prepared.spec!, token: prepared.token };
}

/** Uses the cache like this, but for the operators named. */
export const cacheUse = (mode: CacheMode, operators: Record<string, CacheMode> = {}): CacheUse => ({ mode, operators });

/** Printed key of an operator's result. */
export const portOf = ({ spec }: Pick<Prepared, "spec">, operatorId: string): string =>
  globalPortId(portKeyFromWire(outputOf({ spec }, operatorId).key));

export const hashOf = ({ spec }: Pick<Prepared, "spec">, operatorId: string): string =>
  outputOf({ spec }, operatorId).subdagHash;

const outputOf = ({ spec }: Pick<Prepared, "spec">, operatorId: string) =>
  spec.plan!.operators.find((one) => one.operatorId === operatorId)!.outputs[0]!;

/** Looks ports up as the execution's executor does; all when none is named. */
export async function lookUp(
  server: TestServer,
  { executionId, token }: Prepared,
  request: Partial<LookupPlanRequest> = {},
): Promise<PortLookup[]> {
  const wanted = LookupPlanRequest.fromPartial({ executionId, ...request });
  const reply: LookupPlanResponse = await callUnary(server.client.caches, "lookupPlan", wanted, { token });
  return reply.ports;
}

/** The outcomes alone, in order. */
export const outcomes = (ports: PortLookup[]): Outcome[] => ports.map(({ outcome }) => outcome);

/** Waits for ports; every answer so far, and a promise of the end, which rejects with the stream's error. */
export function watchKeys(server: TestServer, { executionId, token }: Prepared, globalPortIds: string[]) {
  const stream = server.client.caches.watchKeys({ executionId, globalPortIds }, bearer(token));
  const answers: PortLookup[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    stream.on("data", ({ port }: WatchKeysResponse) => answers.push(port!));
    stream.on("end", resolve);
    stream.on("error", reject);
  });
  ended.catch(() => {}); // whoever wants to know awaits it
  return { answers, ended, cut: () => stream.cancel() };
}

/** A finished port as an executor reports it. */
export const portResult = (of: Prepared, operatorId: string, changes: Partial<PortResult> = {}): PortResult =>
  PortResult.fromPartial({
    key: outputOf(of, operatorId).key,
    uri: `${of.spec.resultPrefix}${operatorId}.parquet`,
    rowCount: 3n,
    byteCount: 300n,
    computeMs: 40n,
    ...changes,
  });

export const portEvent = (
  sequence: bigint,
  of: Prepared,
  operatorId: string,
  changes: Partial<PortResult> = {},
): ExecutionEvent => event(sequence, { $case: "portResult", value: portResult(of, operatorId, changes) });

/** Commits ports as an executor without a stream does. */
export const commitPorts = (
  server: TestServer,
  of: Prepared,
  commits: { operatorId: string; reservation: bigint; subdagHash?: string; fingerprintJson?: string; uri?: string }[],
) =>
  callUnary(
    server.client.caches,
    "commitPorts",
    {
      executionId: of.executionId,
      commits: commits.map(({ operatorId, ...commit }) => ({
        globalPortId: portOf(of, operatorId),
        subdagHash: hashOf(of, operatorId),
        fingerprintJson: "",
        uri: `${of.spec.resultPrefix}${operatorId}.parquet`,
        tupleCount: 3n,
        byteCount: 300n,
        computeMs: 40n,
        ...commit,
      })),
    },
    { token: of.token },
  );

export async function setPolicy(server: TestServer, policy: Partial<CachePolicy>): Promise<void> {
  await callUnary(
    server.client.caches,
    "setCachePolicy",
    { projectId: PROJECT, policy: { ttlSeconds: 0n, quotaBytes: 0n, shared: false, ...policy } },
    { token: server.owner },
  );
}

/** The details of offers of an execution that were refused, the oldest first. */
export async function refusedOffers(
  server: TestServer,
  executionId: string,
): Promise<{ subdagHash: string; uri: string; why: string }[]> {
  const rows = await server.db.query<{ detail: { subdagHash: string; uri: string; why: string } }>(
    `select detail from audit_log where action = 'CacheCommitRefused' and resource = :resource order by id`,
    { resource: `execution "${executionId}"` },
  );
  return rows.map(({ detail }) => detail);
}

/** Reservations of an execution as they are stored, the oldest first. */
export const reservationsOf = (
  server: TestServer,
  executionId: string,
): Promise<{ state: string; fencing: bigint }[]> =>
  server.db.query("select state, fencing from cache_reservation where execution_id = :executionId order by fencing", {
    executionId,
  });

/** Entries of a hash. */
export const entriesOf = (
  server: TestServer,
  subdagHash: string,
): Promise<
  { resultUri: string; sourceExecutionId: string; computeMs: bigint; datasetVersions: string[]; shareable: boolean }[]
> => server.db.query("select * from cache_entry where subdag_hash = :subdagHash order by workflow_id", { subdagHash });
