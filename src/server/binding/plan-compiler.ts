// The compiler with the limits of a server: one deadline for the whole plan, and a plan that fits into a message.
import { PhysicalPlan } from "../../contract/postern/v1/plan.js";
import { compile, type ScheduleCompiled } from "../../core/compile.js";
import type { FoundDataset } from "../../core/dataset-reference.js";
import type { Compilation, LogicalPlan } from "../../core/plan.js";
import type { BindSchemas } from "../../core/schema-binding.js";
import { physicalPlanToWire, planDigest } from "../../rpc/plan-codec.js";

const DEADLINE_MS = 10_000;
/** An assignment carries the plan and a little more in one message of at most 4 MiB. */
const PLAN_BYTES = 2 * 1024 * 1024;

export type CompilePlan = (
  plan: LogicalPlan,
  /** Undefined alike for what is absent and what is forbidden. */
  resolveDataset: (reference: string) => Promise<FoundDataset | undefined>,
  /** Gives the compilation up; it then rejects with the signal's reason. */
  signal: AbortSignal,
  /** How the plan gets its schedule; left out: as usual. */
  schedule?: ScheduleCompiled,
) => Promise<Compilation>;

export function planCompiler({
  bindSchemas,
  schedule: usual,
  deadlineMs = DEADLINE_MS,
  planBytes = PLAN_BYTES,
}: {
  bindSchemas: BindSchemas;
  /** For calls that bring none. */
  schedule?: ScheduleCompiled;
  deadlineMs?: number;
  planBytes?: number;
}): CompilePlan {
  return async (plan, resolveDataset, signal, schedule = usual) => {
    const tooLate = AbortSignal.timeout(deadlineMs);
    const either = AbortSignal.any([signal, tooLate]);
    try {
      const compilation = await compile(plan, { resolveDataset, bindSchemas, planDigest, schedule, signal: either });
      return compilation.ok ? fitting(compilation, planBytes) : compilation;
    } catch (error) {
      if (!tooLate.aborted || signal.aborted) throw error;
      return refusal("The plan takes too long to check; make it smaller, or its expressions simpler.");
    }
  };
}

function fitting(compilation: Extract<Compilation, { ok: true }>, planBytes: number): Compilation {
  const bytes = PhysicalPlan.encode(physicalPlanToWire(compilation.plan)).finish().length;
  if (bytes <= planBytes) return compilation;
  return refusal(
    `The compiled plan has ${bytes} bytes, and at most ${planBytes} can be sent to an executor; use fewer operators, or choose fewer columns early.`,
  );
}

const refusal = (message: string): Compilation => ({
  ok: false,
  diagnostics: [{ severity: "error", operatorId: "", property: "", message }],
});
