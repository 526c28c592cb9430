// Where two JSON values differ, leaf by leaf.
import { canonicalJson } from "./canonical-json.js";
import type { Json } from "./plan.js";

export interface JsonDifference {
  /** Path such as `properties.columns.0.name`; names that are no plain words as `properties["a.b"]`. */
  path: string;
  /** JSON text, at most MOST_SHOWN characters around the first difference; empty where there is nothing. */
  before: string;
  after: string;
}

const MOST_SHOWN = 200;
/** How much of what is equal is shown before the first difference. */
const SHOWN_BEFORE = 60;

/** Each place where the values differ, in the order of their names. Lists of different lengths differ as a whole. */
export function jsonDifferences(before: Json | undefined, after: Json | undefined, path = ""): JsonDifference[] {
  if (before === after) return [];
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length)
    return before.flatMap((item, i) => jsonDifferences(item, after[i], memberPath(path, String(i))));
  if (isObject(before) && isObject(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return names.flatMap((name) => jsonDifferences(own(before, name), own(after, name), memberPath(path, name)));
  }
  const [was, is] = [jsonText(before), jsonText(after)];
  return was === is ? [] : [{ path, ...shown(was, is) }];
}

export function memberPath(path: string, name: string): string {
  if (!/^[\w-]+$/.test(name)) return `${path}[${JSON.stringify(name)}]`;
  return path === "" ? name : `${path}.${name}`;
}

const isObject = (value: Json | undefined): value is { [name: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const own = (value: { [name: string]: Json }, name: string): Json | undefined =>
  Object.hasOwn(value, name) ? value[name] : undefined;

const jsonText = (value: Json | undefined): string => (value === undefined ? "" : canonicalJson(value));

/** Both texts, each cut to the part around the first difference when it is long. */
export function shown(before: string, after: string): { before: string; after: string } {
  let first = 0;
  while (first < before.length && before[first] === after[first]) first++;
  return { before: cutAround(before, first), after: cutAround(after, first) };
}

function cutAround(text: string, first: number): string {
  if (text.length <= MOST_SHOWN) return text;
  const start = Math.max(0, Math.min(first - SHOWN_BEFORE, text.length - MOST_SHOWN + 1));
  const end = start + MOST_SHOWN - 2;
  const part = withoutHalves(text.slice(start, end));
  return `${start > 0 ? "…" : ""}${part}${end < text.length ? "…" : ""}`;
}

/** A cut can part a surrogate pair; the half is left out. */
const withoutHalves = (text: string): string => text.replace(/^[\udc00-\udfff]|[\ud800-\udbff]$/g, "");
