// Where results of an execution may lie, and who may say so.
import { AppError } from "../../core/app-error.js";

/** `<root>/<project>/<execution>/`: everything any attempt writes lies below it. */
export const executionPrefix = (root: string, e: { projectId: string; id: string }): string =>
  `${root.replace(/\/+$/, "")}/${e.projectId}/${e.id}/`;

/** `<root>/<project>/<execution>/<attempt>/`: where one attempt writes. */
export const attemptPrefix = (root: string, e: { projectId: string; id: string; attempt: number }): string =>
  `${executionPrefix(root, e)}${e.attempt}/`;

/** Refuses a URI outside `prefix`, also by `..`, escapes, a query or a fragment. */
export function requireBelow(prefix: string, uri: string, what: string): void {
  const rest = uri.startsWith(prefix) ? uri.slice(prefix.length) : undefined;
  const plain = rest !== undefined && /^[A-Za-z0-9_.@=-]+(\/[A-Za-z0-9_.@=-]+)*$/.test(rest);
  if (plain && !rest.split("/").some((part) => part === "." || part === "..")) return;
  throw new AppError(
    "invalid",
    "URI_OUTSIDE_PREFIX",
    `${what} names ${JSON.stringify(uri.slice(0, 300))}, which does not lie plainly below ${prefix}.`,
  );
}
