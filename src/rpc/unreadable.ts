// Requests whose bytes are not the message they should be. grpc-js would answer them with INTERNAL before any code of
// ours runs; passed on in this form they are refused as what they are, the caller's mistake.
import { invalid } from "../core/app-error.js";

/** Stands in for a request that could not be decoded. */
export class Unreadable {
  readonly cause: unknown;
  constructor(cause: unknown) {
    this.cause = cause;
  }
}

/** The request itself, or the refusal of one that could not be decoded. */
export function readable(request: unknown): unknown {
  if (!(request instanceof Unreadable)) return request;
  throw invalid(
    "The request cannot be decoded: it is no message of this contract, or nested too deeply.",
    request.cause,
  );
}

export async function* allReadable(requests: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  for await (const request of requests) yield readable(request);
}
