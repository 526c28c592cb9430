// The output ports of a plan as the cache sees them: worked out once for each plan, from what the server issued.
import { datasetsBehind } from "../../core/datasets-behind.js";
import { fingerprints } from "../../core/fingerprint.js";
import { globalPortId, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import type { WantedPort } from "../repositories/cache-lookup.js";

export interface PlanPort {
  globalPortId: string;
  /** Operator and layer, as core/cache-use.ts names them. */
  operatorKey: string;
  operatorType: string;
  /** True for a port that a plan writes to storage. */
  materialized: boolean;
  /** Hash and fingerprint; or why it has none, as a sentence. */
  wanted: WantedPort | { reason: string };
  /** Behind it, each `<dataset id>@<version>`. */
  datasetVersions: string[];
}

/** The output ports by global port id, in plan order. */
export type PlanPorts = ReadonlyMap<string, PlanPort>;

const known = new WeakMap<PhysicalPlan, PlanPorts>();

export function planPorts(plan: PhysicalPlan): PlanPorts {
  const remembered = known.get(plan);
  if (remembered) return remembered;
  const prints = fingerprints(plan);
  const datasets = datasetsBehind(plan);
  const ports = new Map<string, PlanPort>();
  for (const operator of plan.operators) {
    for (const output of operator.outputs) {
      const id = globalPortId(output.key);
      const print = prints.get(id)!;
      ports.set(id, {
        globalPortId: id,
        operatorKey: operatorKey(operator),
        operatorType: operator.type,
        materialized: output.materialized || output.viewed,
        wanted: wantedAs(id, output.subdagHash, print),
        datasetVersions: datasets.get(id)!,
      });
    }
  }
  known.set(plan, ports);
  return ports;
}

/** A plan that was stored before fingerprints changed names other hashes than they have now. */
function wantedAs(id: string, planned: string, print: { hash: string; json: string } | { reason: string }) {
  if ("reason" in print) return print;
  if (print.hash !== planned) return { reason: "The plan was made before fingerprints took their present form." };
  return { globalPortId: id, subdagHash: print.hash, fingerprintJson: print.json };
}
