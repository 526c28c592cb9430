// What the manifest says of a port the cache was asked for. Pure.
import type { PortReuse } from "../../contract/postern/v1/execution.js";
import type { PortReuse as Estimate } from "../../core/reuse.js";
import type { PortAnswer } from "../cache/port-answer.js";

/** What was settled on the way: everything of a port that was reused, at most a reason of another. */
export type KnownDecision = Partial<PortReuse>;

/** Where things stand with the port at the end of the run. */
export interface PortOutcome {
  answer: PortAnswer | undefined;
  isWritten: boolean;
  estimate: Estimate | undefined;
}

const UNUSED = { reused: false, readMs: 0, recomputeMs: 0, tupleCount: 0n, byteCount: 0n, sourceExecutionId: "" };

export function reuseDecision(globalPortId: string, known: KnownDecision, outcome: PortOutcome): PortReuse {
  if (known.reused) return { ...UNUSED, reason: "", ...known, globalPortId };
  const { answer, estimate } = outcome;
  // An entry there was, and reading it was not worth it.
  if (answer?.kind === "hit" && estimate) {
    const { readMs, recomputeMs, reason } = estimate;
    return { ...UNUSED, readMs, recomputeMs, reason, globalPortId };
  }
  // Both say the same of a hit that was broken twice.
  const reason = [...new Set([known.reason, reasonFor(outcome)])].filter(Boolean).join(" ");
  return { ...UNUSED, reason, globalPortId };
}

function reasonFor({ answer, isWritten }: PortOutcome): string {
  switch (answer?.kind) {
    case "reserved":
      return isWritten ? "It was computed, and offered to the cache." : "It was not computed to its end.";
    case "compute":
      return answer.reason;
    case "busy":
      return "Another execution was computing it to the end of this one.";
    default:
      return "Nothing that runs reads it.";
  }
}
