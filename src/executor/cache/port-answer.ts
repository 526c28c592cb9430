// What the cache says of one port, as a run takes it.
import { type CachedResult, type PortLookup, PortLookup_Outcome } from "../../contract/postern/v1/cache.js";

export type PortAnswer =
  /** There is a result. */
  | { kind: "hit"; result: CachedResult }
  /** This execution is to compute it; the number is the reservation's. */
  | { kind: "reserved"; reservation: bigint }
  /** Another execution computes it. */
  | { kind: "busy" }
  /** This execution computes it for itself; why, as a sentence. */
  | { kind: "compute"; reason: string };

export function portAnswer({ outcome, result, reservation, reason }: PortLookup): PortAnswer {
  switch (outcome) {
    case PortLookup_Outcome.OUTCOME_HIT:
      return result ? { kind: "hit", result } : { kind: "compute", reason: "The server named no result." };
    case PortLookup_Outcome.OUTCOME_RESERVED:
      return { kind: "reserved", reservation };
    case PortLookup_Outcome.OUTCOME_BUSY:
      return { kind: "busy" };
    // An answer of a later release is none this one could act on.
    default:
      return { kind: "compute", reason };
  }
}
