// AppError ⇄ gRPC status with details: the only file that knows status numbers.
//
// An AppError travels as google.rpc.Status in the trailer `grpc-status-details-bin`: an ErrorInfo with its reason and,
// where it has one, its typed detail. Whatever else is thrown is reported whole to `onFault` and leaves as INTERNAL.
import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import type { Any } from "../contract/google/protobuf/any.js";
import { ErrorInfo } from "../contract/google/rpc/error_details.js";
import { Status } from "../contract/google/rpc/status.js";
import { AppError, type ErrorCode } from "../core/app-error.js";
import { detailFromWire, detailToWire } from "./error-detail-codec.js";

const DETAILS = "grpc-status-details-bin";
const DOMAIN = "postern.dev";

const NUMBERS: Record<ErrorCode, status> = {
  invalid: status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  "not-found": status.NOT_FOUND,
  conflict: status.ALREADY_EXISTS,
  precondition: status.FAILED_PRECONDITION,
  exhausted: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  cancelled: status.CANCELLED,
  deadline: status.DEADLINE_EXCEEDED,
  internal: status.INTERNAL,
};

/** The status an error leaves with; `onFault` hears of every error that is a fault of ours. */
export function statusOf(error: unknown, onFault: (error: unknown) => void): StatusObject {
  if (error instanceof AppError && error.code !== "internal") return statusOfAppError(error);
  onFault(error);
  return statusOfAppError(new AppError("internal", "INTERNAL", "internal error"));
}

// Trailers are small: some libraries refuse more than 8 KiB of them in all.
const messageBytes = 1_024;
const encodedMessageBytes = 2_048;

function statusOfAppError(error: AppError): StatusObject {
  const code = NUMBERS[error.code];
  const message = cut(error.message, (text) => Buffer.byteLength(text) <= messageBytes);
  const info = ErrorInfo.encode({ reason: error.reason, domain: DOMAIN, metadata: {} }).finish();
  const details: Any[] = [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: Buffer.from(info) }];
  if (error.detail) details.push(detailToWire(error.detail));
  const metadata = new Metadata();
  metadata.set(DETAILS, Buffer.from(Status.encode({ code, message, details }).finish()));
  // The header is percent-encoded by grpc-js.
  return { code, details: cut(message, (text) => encodeURI(text).length <= encodedMessageBytes), metadata };
}

/** Well-formed text (a lone surrogate cannot be percent-encoded), shortened until it fits. */
function cut(text: string, fits: (text: string) => boolean): string {
  const wellFormed = Buffer.from(text).toString("utf8");
  if (fits(wellFormed)) return wellFormed;
  const characters = [...wellFormed];
  let [low, high] = [0, characters.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(`${characters.slice(0, middle).join("")}…`)) low = middle;
    else high = middle - 1;
  }
  return `${characters.slice(0, low).join("")}…`;
}

/** The AppError behind what a call ended with; `address` names the server in sentences of our own. */
export function appErrorOf(error: unknown, address: string): AppError {
  if (error instanceof AppError) return error;
  if (!isServiceError(error))
    return new AppError("internal", "INTERNAL", `The call failed: ${sentence(error)}`, { cause: error });
  return ownError(error) ?? foreignError(error, address);
}

const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && typeof (error as Partial<ServiceError>).code === "number" && "details" in error;

/** What one of our servers said. */
function ownError(error: ServiceError): AppError | undefined {
  const [trailer] = error.metadata?.get(DETAILS) ?? [];
  if (!Buffer.isBuffer(trailer)) return undefined;
  try {
    const { code, message, details } = Status.decode(trailer);
    const info = details.find(({ typeUrl }) => typeUrl.endsWith("/google.rpc.ErrorInfo"));
    if (!info) return undefined;
    const { reason, domain } = ErrorInfo.decode(info.value);
    if (domain !== DOMAIN) return undefined;
    const detail = details.map(detailFromWire).find((one) => one !== undefined);
    return new AppError(codeOf(code), reason, message, { detail, cause: error });
  } catch {
    return undefined; // not what we write; the plain status still says something
  }
}

const CODES = new Map<number, ErrorCode>([
  ...Object.entries(NUMBERS).map(([code, number]) => [number, code as ErrorCode] as const),
  [status.OUT_OF_RANGE, "invalid"],
  [status.ABORTED, "unavailable"],
  [status.UNIMPLEMENTED, "precondition"],
]);

const codeOf = (number: number): ErrorCode => CODES.get(number) ?? "internal";

/** What grpc-js, a proxy or another server said: a plain status. */
function foreignError(error: ServiceError, address: string): AppError {
  const code = codeOf(error.code);
  const [reason, message] = foreign(error, code, address);
  return new AppError(code, reason, message, { cause: error });
}

function foreign(error: ServiceError, code: ErrorCode, target: string): [reason: string, message: string] {
  const address = target.replace(/^dns:/, "");
  // Of a failed connection grpc-js tells a story of its own; the system's word for it is in there.
  const said = /\b(E[A-Z]{4,})\b/.exec(error.details)?.[1] ?? (error.details || "no reason given");
  if (error.code === status.UNIMPLEMENTED)
    return ["INVALID_REQUEST", `The server at ${address} does not know this call (${said}): upgrade it.`];
  switch (code) {
    case "unavailable":
      return [
        "UNAVAILABLE",
        `The server at ${address} cannot be reached (${said}): check the address and that it runs.`,
      ];
    case "deadline":
      return ["DEADLINE_EXCEEDED", `The server at ${address} did not answer in time: try again, or allow more time.`];
    case "cancelled":
      return ["CANCELLED", "The call was cancelled."];
    case "unauthenticated":
      return ["TOKEN_INVALID", `The server at ${address} does not accept the token: ${said}`];
    case "forbidden":
      return ["PERMISSION_DENIED", said];
    case "not-found":
      return ["NOT_FOUND", said];
    case "conflict":
      return ["ALREADY_EXISTS", said];
    case "exhausted":
      return ["QUOTA_EXCEEDED", said];
    case "invalid":
    case "precondition":
      return ["INVALID_REQUEST", said];
    case "internal":
      return ["INTERNAL", `The server at ${address} failed: ${said}`];
  }
}
