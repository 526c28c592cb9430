// Keyset pages: a page token holds the key of the last item of a page, and the next page starts after it.
import { invalid } from "../core/app-error.js";

/** A list's own name for its tokens, so that the token of one list is refused by another. */
type ListName = "workflows" | "workflow-versions" | "datasets" | "dataset-versions" | "executions" | "cache-entries";

/** The page asked for: one item more than its size tells whether there is another page. */
export interface PageRequest<Key> {
  after: Key;
  limit: number;
}

/** Opaque to clients. */
export const pageToken = (list: ListName, key: string | number): string =>
  Buffer.from(JSON.stringify([list, key])).toString("base64url");

/** The text key a token holds; "" (before every name) for the first page. */
export function nameAfter(list: ListName, token: string): string {
  if (token === "") return "";
  const key = keyIn(list, token);
  if (typeof key === "string" && !key.includes("\0")) return key;
  throw malformed();
}

/** The version a token holds; a number above every version for the first page. */
export function versionBefore(list: ListName, token: string): number {
  const highest = 2 ** 31 - 1;
  if (token === "") return highest;
  const key = keyIn(list, token);
  if (Number.isInteger(key) && (key as number) > 0 && (key as number) <= highest) return key as number;
  throw malformed();
}

/** Cuts a list that was read with one item too many, and makes the token of the next page. */
export function cutPage<Item>(
  list: ListName,
  items: Item[],
  size: number,
  keyOf: (item: Item) => string | number,
): { items: Item[]; nextPageToken: string } {
  if (items.length <= size) return { items, nextPageToken: "" };
  const page = items.slice(0, size);
  return { items: page, nextPageToken: pageToken(list, keyOf(page.at(-1)!)) };
}

function keyIn(list: ListName, token: string): unknown {
  try {
    const [of, key] = JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as unknown[];
    if (of === list) return key;
  } catch {
    // Not JSON, or no array: malformed like the rest.
  }
  throw malformed();
}

const malformed = () => invalid("The page token is none of this list's; pass a next_page_token as it was returned.");
