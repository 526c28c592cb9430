// Answers of the schema binder, remembered: a workflow that is compiled again and again asks for the same few operators.
//
// M1  An answer follows from the whole request and from nothing else, so the request, by its hash, is the key.
// M2  Only good answers are kept: "this takes too long" is true of a moment, and a broken plan is soon mended.
// M3  What is kept has a size; beyond it the answer goes that nobody has used for longest.
import { createHash } from "node:crypto";
import type { BindResult, BindSchemas } from "../../core/schema-binding.js";

interface Remembered {
  result: BindResult;
  characters: number;
}

/** About 30,000 operators of ten columns. */
const MOST_CHARACTERS = 32_000_000;

/** The same binder with a memory; what it returns is shared and must not be changed. */
export function rememberBindings(
  bindSchemas: BindSchemas,
  { mostCharacters = MOST_CHARACTERS }: { mostCharacters?: number } = {},
): BindSchemas {
  /** The one used last is the last. */
  const remembered = new Map<string, Remembered>();
  let characters = 0;

  function recall(key: string): BindResult | undefined {
    const found = remembered.get(key);
    if (!found) return undefined;
    remembered.delete(key);
    remembered.set(key, found);
    return found.result;
  }

  function remember(key: string, result: BindResult): void {
    forget(key);
    const entry = { result, characters: key.length + JSON.stringify(result).length };
    remembered.set(key, entry);
    characters += entry.characters;
    while (characters > mostCharacters) forget(remembered.keys().next().value!);
  }

  function forget(key: string): void {
    characters -= remembered.get(key)?.characters ?? 0;
    remembered.delete(key);
  }

  return async (request, signal) => {
    signal?.throwIfAborted();
    const { inputs, expressions, statements, sql } = request;
    const key = createHash("sha256")
      .update(JSON.stringify([inputs, expressions, statements, sql]))
      .digest("base64");
    const known = recall(key);
    if (known) return known;
    const result = await bindSchemas(request, signal);
    if (result.ok) remember(key, result);
    return result;
  };
}
