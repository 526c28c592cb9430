// Trees of SQL as json_serialize_sql gives them, and how deep they may be.

/** A node: an expression has a `class`, everything else a `type`. */
export interface Tree {
  class?: unknown;
  type?: unknown;
  [key: string]: unknown;
}

export interface Serialized {
  error: boolean;
  error_type?: string;
  error_message?: string;
  statements?: { node: Tree }[];
}

/** Undefined when a number lies beyond a double: DuckDB then writes Infinity, which is no JSON. */
export function parseTree(serialized: string): Serialized | undefined {
  try {
    return JSON.parse(serialized);
  } catch (error) {
    if (/"value":-?Infinity\b/.test(serialized)) return undefined;
    throw error;
  }
}

/** DuckDB binds what is in a lambda or behind an arrow twice, so time doubles with each level. */
export const MOST_LAMBDAS = 3;
export const MOST_ARROWS = 8;
