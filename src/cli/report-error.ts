// How an error reaches its reader: one sentence on standard error, or one JSON document with --json.
import { AppError, type Diagnostic } from "../core/app-error.js";
import { Interrupted, type Terminal } from "./terminal.js";
import { paintFor, printable } from "./text.js";

export function reportError(terminal: Terminal, error: unknown, json: boolean): void {
  const { err, env } = terminal;
  if (json) {
    err.write(`${JSON.stringify({ error: describe(error) })}\n`);
    return;
  }
  if (error instanceof Interrupted) {
    if (error.message) err.write(`${error.message}\n`);
    return;
  }
  const paint = paintFor(err, env);
  const diagnostics = diagnosticsOf(error);
  const { message } = describe(error);
  const head = diagnostics.length > 0 ? "The plan cannot run:" : message.split("\n").map(printable).join("\n");
  err.write(`${paint("red", "error:")} ${head}\n`);
  for (const line of diagnosticLines(diagnostics)) err.write(`${line}\n`);
  if (!(error instanceof AppError) && env.POSTERN_DEBUG) err.write(`${(error as Error)?.stack ?? ""}\n`);
}

/** Findings as `  operator.property: message`, errors as they come. */
export function diagnosticLines(diagnostics: readonly Diagnostic[]): string[] {
  return diagnostics.map(({ severity, operatorId, property, message }) => {
    const where = [operatorId, property].filter(Boolean).join(".") || "plan";
    return `  ${severity === "warning" ? "(warning) " : ""}${printable(where)}: ${printable(message)}`;
  });
}

function diagnosticsOf(error: unknown): Diagnostic[] {
  return error instanceof AppError && error.detail?.kind === "PlanInvalid" ? error.detail.diagnostics : [];
}

function describe(error: unknown): { code: string; reason: string; message: string; diagnostics?: Diagnostic[] } {
  if (error instanceof Interrupted)
    return { code: "cancelled", reason: "INTERRUPTED", message: error.message || "Interrupted." };
  if (error instanceof AppError) {
    const diagnostics = diagnosticsOf(error);
    const { code, reason, message } = error;
    return { code, reason, message, ...(diagnostics.length > 0 ? { diagnostics } : {}) };
  }
  const text = error instanceof Error ? error.message : String(error);
  const message = `Postern stumbled over a fault of its own: ${text.replace(/\.$/, "")}. Run again with POSTERN_DEBUG=1 for the details.`;
  return { code: "internal", reason: "INTERNAL", message };
}
