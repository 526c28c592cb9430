// Objects of earlier hits that an executor could not read: once the server sees it too, nothing stands for a port by them.
//
// B1  An executor can name only what a lookup of its own execution found, so nobody's entries can be made to go by guesses.
// B2  The server looks for itself: an object that is there in its full size, or of which storage tells nothing, stays
//     remembered.
import { invalid } from "../../core/app-error.js";
import type { Database } from "../database/database.js";
import { objectPresence } from "../executions/stored-object.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { forgetEntriesAt, pinnedObjects } from "../repositories/cache-breakage.js";

const MOST_URIS = 1_000;

export async function forgetBrokenObjects(
  { db }: { db: Database },
  execution: { id: string; projectId: string },
  uris: readonly string[],
): Promise<void> {
  if (uris.length > MOST_URIS)
    throw invalid(`${uris.length} broken objects are too many for one call; name at most ${MOST_URIS}.`);
  const broken: string[] = [];
  for (const { uri, byteCount } of await pinnedObjects(db, execution.id, uris))
    if ((await objectPresence({ uri, byteCount })) === "broken") broken.push(uri);
  if (broken.length === 0) return;
  const { id, projectId } = execution;
  await forgetObjects(db, { projectId, uris: broken, actor: `execution ${id}`, resource: `execution "${id}"` });
}

/** Forgets every entry of the project that names one of these objects, which the server has seen to be broken. */
export async function forgetObjects(
  db: Database,
  { uris, ...found }: { projectId: string; uris: readonly string[]; actor: string; resource: string },
): Promise<void> {
  await db.transaction(async (tx) => {
    const entries = await forgetEntriesAt(tx, found.projectId, uris);
    await addAuditEntry(tx, { ...found, action: "ForgetBrokenObjects", detail: { uris: [...uris], entries } });
  });
}
