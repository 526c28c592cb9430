import { expect } from "chai";
import { LookupPlanResponse, type PortLookup } from "../../src/contract/postern/v1/cache.js";
import { encodeLookupReply } from "../../src/rpc/lookup-reply.js";

const port = (globalPortId: string, reservation = 0n): PortLookup => ({
  globalPortId,
  outcome: 2,
  reason: "",
  reservation,
  result: undefined,
});

describe("encodeLookupReply", () => {
  it("gives the bytes any encoder gives, which stay what they are when another reply follows", () => {
    const large = { ports: Array.from({ length: 3_000 }, (_, i) => port(`port ${i} é`, BigInt(i))) };
    const small = { ports: [port("a"), port("b", 2n ** 63n - 1n)] };
    const first = encodeLookupReply(large);
    const second = encodeLookupReply(small);
    expect(Buffer.compare(first, LookupPlanResponse.encode(large).finish())).to.equal(0);
    expect(Buffer.compare(second, LookupPlanResponse.encode(small).finish())).to.equal(0);
    expect(encodeLookupReply({ ports: [] })).to.have.lengthOf(0);
  });

  it("leaves nothing behind of a reply that could not be encoded", () => {
    const wrong = { ports: [port("a"), port("b", 2n ** 70n)] };
    expect(() => encodeLookupReply(wrong)).to.throw("too large");
    const right = { ports: [port("c")] };
    expect(LookupPlanResponse.decode(encodeLookupReply(right))).to.deep.equal(right);
  });
});
