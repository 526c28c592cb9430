// The list of findings about one plan.
import type { Diagnostic } from "./app-error.js";
import type { Finding } from "./operators/operator.js";

// A plan with more findings is not read to the end by anybody, and the reply must stay small.
const MOST_REPORTED = 500;

/** Gathers findings; remembers which operators have errors. */
export interface PlanFindings {
  /** A finding about the plan as a whole. */
  plan(message: string): void;
  /** Findings about one operator; they mark it as broken. */
  operator(operatorId: string, ...findings: Finding[]): void;
  warning(operatorId: string, finding: Finding): void;
  isBroken(operatorId: string): boolean;
  hasErrors(): boolean;
  /** Errors first, else in order of discovery. */
  list(): Diagnostic[];
}

export function planFindings(): PlanFindings {
  const errors: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  const broken = new Set<string>();
  return {
    plan: (message) => void errors.push({ severity: "error", operatorId: "", property: "", message }),
    operator(operatorId, ...findings) {
      if (findings.length > 0) broken.add(operatorId);
      for (const { property, message } of findings) errors.push({ severity: "error", operatorId, property, message });
    },
    warning: (operatorId, { property, message }) =>
      void warnings.push({ severity: "warning", operatorId, property, message }),
    isBroken: (operatorId) => broken.has(operatorId),
    hasErrors: () => errors.length > 0,
    list() {
      const all = [...errors, ...warnings];
      if (all.length <= MOST_REPORTED) return all;
      const message = `There are ${all.length - MOST_REPORTED} more findings; correct these first.`;
      return [...all.slice(0, MOST_REPORTED), { severity: "error", operatorId: "", property: "", message }];
    },
  };
}
