// One spelling per JSON value (RFC 8785), so that equal values have equal hashes in every language.
//
// J1  Members are sorted by the UTF-16 code units of their names, not by code points: a character beyond U+FFFF sorts
//     before U+E000 to U+FFFF.
// J2  Numbers are doubles in the shortest form that reads back the same, as ECMAScript prints them: 1, 1e+21, 0 for -0.
// J3  What has no such spelling (NaN, half a surrogate pair, a function) is refused, never replaced by something else.
// test/vectors/canonical-json.json pins it; docs/fingerprints.md explains it to other languages.
import { hash } from "node:crypto";

/** Canonical JSON of a value. Undefined members are left out, as JSON.stringify does. */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "number":
      if (Number.isFinite(value)) return String(value);
      throw new TypeError(`${value} has no canonical form: JSON has no such number.`);
    case "boolean":
      return value ? "true" : "false";
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? arrayText(value) : objectText(value as Record<string, unknown>);
    default:
      throw new TypeError(`Only JSON values have a canonical form; this is of type ${typeof value}.`);
  }
}

function arrayText(items: readonly unknown[]): string {
  let text = "[";
  for (let i = 0; i < items.length; i++) text += i === 0 ? canonicalJson(items[i]) : `,${canonicalJson(items[i])}`;
  return `${text}]`;
}

function objectText(members: Record<string, unknown>): string {
  const prototype: unknown = Object.getPrototypeOf(members);
  if (prototype !== Object.prototype && prototype !== null)
    throw new TypeError("Only plain objects have a canonical form; this is one of a class.");
  let text = "";
  for (const name of sortedNames(members)) {
    const value = members[name];
    if (value === undefined) continue;
    text += `${text === "" ? "{" : ","}${quoted(name)}:${canonicalJson(value)}`;
  }
  return text === "" ? "{}" : `${text}}`;
}

/** In the order of J1, which is also how `<` compares texts. Most objects have few members, or are sorted already. */
function sortedNames(members: object): string[] {
  const names = Object.keys(members);
  if (names.length > FEW_NAMES) return names.sort();
  for (let i = 1; i < names.length; i++) {
    const name = names[i]!;
    let at = i;
    for (; at > 0 && names[at - 1]! > name; at--) names[at] = names[at - 1]!;
    names[at] = name;
  }
  return names;
}

/** Up to here inserting one by one is faster than `sort`, and leaves less behind. */
const FEW_NAMES = 12;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must be escaped.
const NEEDS_CARE = /["\\\u0000-\u001f\ud800-\udfff]/;
/** With the flag u a whole pair is one character, so what matches is a half without its other half. */
const HALF_PAIR = /[\ud800-\udfff]/u;

/** Whether a text stands for itself between quotes. */
export const isPlain = (text: string): boolean => !NEEDS_CARE.test(text);

/** Canonical JSON of a text. JSON.stringify escapes exactly what RFC 8785 wants escaped, in the same way. */
export function quoted(text: string): string {
  if (isPlain(text)) return `"${text}"`;
  if (HALF_PAIR.test(text)) throw new TypeError("A text with half a surrogate pair has no canonical form.");
  return JSON.stringify(text);
}

/** Lower-case hex SHA-256; of a text its UTF-8 bytes. */
export const sha256Hex = (text: string | Uint8Array): string => hash("sha256", text, "hex");

/** SHA-256 (hex) of the canonical JSON of a value. */
export const digestOf = (value: unknown): string => sha256Hex(canonicalJson(value));
