// Offers to the cache that are turned away: what was offered was not the execution's to offer (poisoning).
import { AppError } from "../../core/app-error.js";
import type { Database } from "../database/database.js";
import { auditRefusedOffers, type RefusedOffer } from "../repositories/cache-commits.js";

/** Nothing of the call is stored; the audit log keeps that it was tried. */
export class OfferRefused extends AppError {
  readonly offer: RefusedOffer;

  constructor(offer: RefusedOffer) {
    const { executionId, globalPortId, subdagHash, uri, why } = offer;
    const what =
      globalPortId === "" ? `Subdag hash ${JSON.stringify(subdagHash)}` : `Port ${globalPortId.slice(0, 300)}`;
    super("forbidden", "CACHE_COMMIT_REFUSED", `${what} is not remembered: ${why}`);
    this.offer = { executionId, globalPortId, subdagHash, uri: uri.slice(0, 1_000), why };
  }
}

/**
 * Runs `work`; when it refuses an offer, that is written down in a transaction of its own, because the one of the call is
 * rolled back.
 */
export async function auditingRefusals<T>(db: Database, actor: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof OfferRefused) await auditRefusedOffers(db, [error.offer], actor);
    throw error;
  }
}

export const NEVER_RESERVED =
  "this execution never reserved its fingerprint; look it up first, and offer what RESERVED names.";
export const OUTSIDE_PREFIX = "its object does not lie below the execution's own prefix.";
export const NOT_FOUND_HERE = "its object was not among what a lookup of this execution found.";
export const OTHER_FINGERPRINT = "its fingerprint is not the one of the plan the server issued.";
