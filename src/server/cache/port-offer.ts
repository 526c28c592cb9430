// What an executor offers to the cache, completed by what the server's plan says of the port.
import type { PhysicalPlan } from "../../core/plan.js";
import type { PortOffer } from "../repositories/cache-commits.js";
import { planPorts } from "./plan-ports.js";

/** A finished port as an offer. One without a fingerprint is offered under no hash, so no reservation fits it. */
export function portOffer(
  by: { executionId: string; plan: PhysicalPlan },
  globalPortId: string,
  offered: { reservation: bigint | null; computeMs: bigint },
): Omit<PortOffer, "epoch"> {
  const { wanted, operatorType, datasetVersions } = planPorts(by.plan).get(globalPortId)!;
  const { subdagHash, fingerprintJson } = "reason" in wanted ? { subdagHash: "", fingerprintJson: "" } : wanted;
  return {
    executionId: by.executionId,
    globalPortId,
    subdagHash,
    fingerprintJson,
    operatorType,
    datasetVersions,
    reservation: offered.reservation,
    computeMs: offered.computeMs,
  };
}
