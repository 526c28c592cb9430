import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect } from "chai";
import { tempShareMb } from "../../src/executor/temp-share.js";

describe("the share of disk that one slot's queries may take", () => {
  it("is a part of the limit, and a megabyte at least", async () => {
    expect(await tempShareMb({ tempMaxMb: 1_000, slots: 3 }, tmpdir())).to.equal(333);
    expect(await tempShareMb({ tempMaxMb: 2, slots: 8 }, tmpdir())).to.equal(1);
  });

  it("is a part of what is free without a limit, so that all slots together leave a tenth", async () => {
    const { bavail, bsize } = await statfs(tmpdir());
    const free = (bavail * bsize) / 1024 / 1024;
    const share = await tempShareMb({ tempMaxMb: undefined, slots: 4 }, tmpdir());
    // Others write there meanwhile.
    expect(share * 4).to.be.within(free * 0.7, free * 0.95);
  });
});
