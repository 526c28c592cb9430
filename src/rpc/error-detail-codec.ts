// The typed details of an AppError ⇄ the messages of error.proto, packed as google.protobuf.Any.
import type { Any } from "../contract/google/protobuf/any.js";
import {
  IllegalTransition,
  PlanInvalid,
  QuotaExceeded,
  StaleLease,
  UnexpectedSequence,
} from "../contract/postern/v1/error.js";
import type { Diagnostic } from "../contract/postern/v1/plan.js";
import type { ErrorDetail } from "../core/app-error.js";
import { diagnosticFromWire, diagnosticToWire } from "./plan-codec.js";

const PREFIX = "type.googleapis.com/postern.v1.";

export function detailToWire(detail: ErrorDetail): Any {
  return { typeUrl: `${PREFIX}${detail.kind}`, value: Buffer.from(encode(detail)) };
}

function encode(detail: ErrorDetail): Uint8Array {
  switch (detail.kind) {
    case "StaleLease":
      return StaleLease.encode(detail).finish();
    case "UnexpectedSequence":
      return UnexpectedSequence.encode(detail).finish();
    case "IllegalTransition":
      return IllegalTransition.encode(detail).finish();
    case "QuotaExceeded":
      return QuotaExceeded.encode(detail).finish();
    case "PlanInvalid":
      return PlanInvalid.encode({ diagnostics: fitting(detail.diagnostics.map(diagnosticToWire)) }).finish();
  }
}

/** The detail of one Any; undefined when it is none of ours. */
export function detailFromWire({ typeUrl, value }: Any): ErrorDetail | undefined {
  switch (typeUrl) {
    case `${PREFIX}StaleLease`:
      return { kind: "StaleLease", ...StaleLease.decode(value) };
    case `${PREFIX}UnexpectedSequence`:
      return { kind: "UnexpectedSequence", ...UnexpectedSequence.decode(value) };
    case `${PREFIX}IllegalTransition`:
      return { kind: "IllegalTransition", ...IllegalTransition.decode(value) };
    case `${PREFIX}QuotaExceeded`:
      return { kind: "QuotaExceeded", ...QuotaExceeded.decode(value) };
    case `${PREFIX}PlanInvalid`:
      return { kind: "PlanInvalid", diagnostics: PlanInvalid.decode(value).diagnostics.map(diagnosticFromWire) };
    default:
      return undefined;
  }
}

// Details travel in a trailer, and some libraries refuse more than 8 KiB of trailers.
const planInvalidBytes = 3_072;

/** As many findings as fit, errors first, and one that says how many are missing. */
function fitting(diagnostics: Diagnostic[]): Diagnostic[] {
  const ordered = diagnostics.toSorted((a, b) => a.severity - b.severity);
  const kept: Diagnostic[] = [];
  let bytes = 200; // for the line about the rest
  for (const one of ordered) {
    bytes += 16 + Buffer.byteLength(one.operatorId + one.property + one.message);
    if (bytes > planInvalidBytes) break;
    kept.push(one);
  }
  const missing = ordered.length - kept.length;
  if (missing === 0) return kept;
  const message = `${missing} more finding${missing === 1 ? "" : "s"}: CompileService.Compile lists them all.`;
  return [...kept, { severity: ordered[kept.length]!.severity, operatorId: "", property: "", message }];
}
