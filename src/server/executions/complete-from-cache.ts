// The whole run of an execution whose every result the cache has: nobody runs it, so the server writes what an executor
// would have said. All of it follows from the plan and the entries.
import {
  type ExecutionEvent,
  ExecutionState,
  type RegionStateChanged,
  RunState,
} from "../../contract/postern/v1/execution.js";
import { PortResult } from "../../contract/postern/v1/port_registry.js";
import { globalPortId, type OutputPort, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { inferRowCounts } from "../../core/row-counts.js";
import { portKeyToWire } from "../../rpc/plan-codec.js";
import type { CachedPort } from "../repositories/cache-lookup.js";
import type { EventRow } from "../repositories/execution-events.js";
import type { OperatorStatisticsRow } from "../repositories/operator-statistics.js";
import { eventRow } from "./execution-log.js";
import { statisticsToWire } from "./execution-wire.js";

export interface CachedRun {
  /** The whole log, numbered from 1: it was PREPARED, and is COMPLETED. */
  events: EventRow[];
  /** One of every operator: its state, and the rows that were counted when they were computed. */
  figures: OperatorStatisticsRow[];
}

/** `hits` is all the cache has of the plan: ports that are not reused tell numbers of rows as well. */
export function cachedRun(
  plan: PhysicalPlan,
  { hits, reused, now }: { hits: ReadonlyMap<string, CachedPort>; reused: ReadonlySet<string>; now: Date },
): CachedRun {
  const figures = figuresFromCache(plan, hits);
  const outputs = plan.operators.flatMap((operator) => operator.outputs);
  const reusedPorts = outputs.filter(({ key }) => reused.has(globalPortId(key)));
  const kinds: EventKind[] = [
    stateChange(ExecutionState.EXECUTION_STATE_PREPARED, ""),
    ...reusedPorts.map((port) => portEvent(port, hits.get(globalPortId(port.key))!)),
    ...plan.regions
      .toSorted((a, b) => a.level - b.level || a.id - b.id)
      .flatMap((region) => [
        regionFromCache({ regionId: region.id, state: FROM_CACHE }),
        ...region.operators.flatMap((operator) => operatorEvents(figures.get(operatorKey(operator))!)),
      ]),
    stateChange(ExecutionState.EXECUTION_STATE_COMPLETED, "every result was in the cache"),
  ];
  const events = kinds.map((kind, i) =>
    eventRow({ number: BigInt(i + 1), attempt: 1, sequence: 0n, occurredAt: now, kind }),
  );
  return { events, figures: [...figures.values()] };
}

type EventKind = NonNullable<ExecutionEvent["kind"]>;

const FROM_CACHE = RunState.RUN_STATE_COMPLETED_FROM_CACHE;

const stateChange = (state: ExecutionState, comment: string): EventKind => ({
  $case: "executionState",
  value: { state, failure: undefined, comment },
});

const regionFromCache = (value: RegionStateChanged): EventKind => ({ $case: "regionState", value });

const operatorEvents = (figures: OperatorStatisticsRow): EventKind[] => [
  { $case: "operatorStatistics", value: statisticsToWire(figures) },
  {
    $case: "operatorState",
    value: { operatorId: figures.operatorId, layer: figures.layer, state: FROM_CACHE, failure: undefined },
  },
];

/** Without the schema, as every port in a log. */
const portEvent = ({ key, subdagHash, viewed }: OutputPort, hit: CachedPort): EventKind => ({
  $case: "portResult",
  value: PortResult.fromPartial({
    key: portKeyToWire(key),
    globalPortId: globalPortId(key),
    uri: hit.uri,
    rowCount: hit.tupleCount,
    byteCount: hit.byteCount,
    subdagHash,
    viewed,
    computeMs: hit.computeMs,
    reused: true,
  }),
});

function figuresFromCache(
  plan: PhysicalPlan,
  hits: ReadonlyMap<string, CachedPort>,
): Map<string, OperatorStatisticsRow> {
  const counted = new Map<string, bigint>();
  for (const operator of plan.operators)
    for (const { key } of operator.outputs) {
      const hit = hits.get(globalPortId(key));
      if (hit) counted.set(globalPortId(key), hit.tupleCount);
    }
  const counts = inferRowCounts(plan, counted);
  return new Map(
    plan.operators.map(({ operatorId, layer }) => {
      const key = operatorKey({ operatorId, layer });
      const { inputRows, outputRows } = counts.get(key) ?? {};
      const nothing = { outputBytes: 0n, busyMs: 0n, peakMemoryBytes: 0n, malformedRows: 0n };
      return [
        key,
        {
          operatorId,
          layer,
          state: "COMPLETED_FROM_CACHE",
          inputRows: storable(inputRows),
          outputRows: storable(outputRows),
          progress: 1,
          ...nothing,
        },
      ];
    }),
  );
}

const LARGEST = 2n ** 63n - 1n;

/** Counts are the words of whoever computed the ports: no sum of them may be too large to be stored. */
const storable = (rows: bigint | undefined): bigint | null =>
  rows === undefined ? null : rows < LARGEST ? rows : LARGEST;
