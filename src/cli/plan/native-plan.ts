// The document of a plan that a server compiled.
import type { CompileResponse } from "../../contract/postern/v1/compile.js";
import { type InputPort, type OutputPort, type PhysicalOperator, Schema } from "../../contract/postern/v1/plan.js";
import { costModelFromWire, scheduleModeFromWire } from "../../rpc/cache-codec.js";
import { levelsOf, type PlanDocument, type PlannedOperator, plannedId } from "./plan-document.js";

/** An operator with what the compiler knows about its ports. */
export interface CompiledOperator extends PlannedOperator {
  inputs: { port: number; schema: unknown; dependsOn: number[] }[];
  outputs: {
    port: number;
    schema: unknown;
    blocking: boolean;
    materialized: boolean;
    viewed: boolean;
    /** Hex; empty when the port has no fingerprint. */
    subdagHash: string;
    /** Why it has none, as a sentence; empty when it has one. */
    uncacheableReason: string;
  }[];
}

export type CompiledDocument = PlanDocument & { operators: CompiledOperator[] };

/** The document of a reply that holds a plan; undefined for one that holds findings only. */
export function compiledDocument({ plan, schedule }: CompileResponse): CompiledDocument | undefined {
  if (!plan || !schedule) return undefined;
  const regions = plan.regions.map(({ id, level, operators, cached }) => ({
    id,
    level,
    operators: operators.map(plannedId),
    cached,
  }));
  return {
    operators: plan.operators.map(compiledOperator),
    links: plan.links.map(({ id, from, to, mustMaterialize, why }) => ({
      id,
      from: plannedId(from!),
      fromPort: from!.portId,
      to: plannedId(to!),
      toPort: to!.portId,
      mustMaterialize,
      why,
    })),
    viewed: plan.operators.flatMap((operator) =>
      operator.outputs
        .filter(({ viewed }) => viewed)
        .map(({ key }) => ({ operator: plannedId(operator), port: key!.portId })),
    ),
    materialized: schedule.materialized,
    regions,
    levels: levelsOf(regions),
    cost: schedule.cost,
    optimal: schedule.optimal,
    explored: Number(schedule.explored),
    millis: schedule.millis,
    costModel: costModelFromWire(schedule.costModel) ?? "ports",
    mode: scheduleModeFromWire(schedule.mode),
  };
}

const compiledOperator = (operator: PhysicalOperator): CompiledOperator => ({
  id: plannedId(operator),
  operatorId: operator.operatorId,
  layer: operator.layer,
  type: operator.type,
  displayName: operator.displayName,
  inputs: operator.inputs.map((input: InputPort) => ({
    port: input.key!.portId,
    schema: schemaJson(input.schema),
    dependsOn: input.dependsOn.map(({ portId }) => portId),
  })),
  outputs: operator.outputs.map((output: OutputPort) => ({
    port: output.key!.portId,
    schema: schemaJson(output.schema),
    blocking: output.blocking,
    materialized: output.materialized,
    viewed: output.viewed,
    subdagHash: output.subdagHash,
    uncacheableReason: output.uncacheableReason,
  })),
});

const schemaJson = (schema: Schema | undefined): unknown => Schema.toJSON(schema ?? { attributes: [] });
