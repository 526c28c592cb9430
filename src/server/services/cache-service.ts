// CacheService: results remembered by fingerprint, and the right to compute a missing one.
import type { CacheServiceServer } from "../../contract/postern/v1/cache.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import type { CallContext } from "../access/caller.js";
import { cacheKeepingMethods } from "./cache-keeping.js";
import { cacheReservationMethods } from "./cache-reservations.js";

type Deps = Parameters<typeof cacheKeepingMethods>[0] & Parameters<typeof cacheReservationMethods>[0];

export function cacheService(deps: Deps): ServiceMethods<CacheServiceServer, CallContext> {
  return { ...cacheReservationMethods(deps), ...cacheKeepingMethods(deps) };
}
