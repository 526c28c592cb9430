// CacheService as the server mounts it: replies of LookupPlan, which may tell of thousands of ports, are written into
// memory that is kept, so that nothing is copied while they grow.
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { CacheServiceService, LookupPlanResponse } from "../contract/postern/v1/cache.js";

/** Memory that one reply has made larger than this is not kept, in bytes. */
const KEPT_BYTES = 4 * 1024 * 1024;

let kept = new BinaryWriter();

/** The encoded reply; throws when a number in it has no int64. */
export function encodeLookupReply(reply: LookupPlanResponse): Buffer {
  const writer = kept;
  kept = new BinaryWriter(); // an error leaves the other one in the midst of a message
  const { buffer, byteOffset, byteLength } = LookupPlanResponse.encode(reply, writer).finish();
  if (byteLength <= KEPT_BYTES) kept = writer;
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The service's definition, with the encoding above. */
export const cacheDefinition: ServiceDefinition = {
  ...CacheServiceService,
  lookupPlan: { ...CacheServiceService.lookupPlan, responseSerialize: encodeLookupReply },
};
