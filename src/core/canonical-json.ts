// One spelling per JSON value (RFC 8785), so that equal values have equal hashes in every language.
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";

// The package is CommonJS and exports the function itself; its declaration claims a default export inside a namespace.
const serialize = canonicalize as unknown as typeof canonicalize.default;

/** Canonical JSON: keys sorted by UTF-16 code units, shortest numbers, no spaces. Undefined members are left out. */
export function canonicalJson(value: unknown): string {
  const text = serialize(value);
  if (text === undefined) throw new TypeError("Only JSON values have a canonical form.");
  return text;
}

export const sha256Hex = (text: string | Uint8Array): string => createHash("sha256").update(text).digest("hex");

/** SHA-256 (hex) of the canonical JSON of a value. */
export const digestOf = (value: unknown): string => sha256Hex(canonicalJson(value));
