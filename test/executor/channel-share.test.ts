import type { Channel } from "@grpc/grpc-js";
import { expect } from "chai";
import { shareChannel } from "../../src/executor/cache/channel-share.js";

describe("the channel executions share", () => {
  /** Channels by the order they were opened in, and which of them are closed. */
  function channels() {
    const opened: Channel[] = [];
    const closed: number[] = [];
    const hold = shareChannel(() => {
      const place = opened.length;
      opened.push({ close: () => void closed.push(place) } as Channel);
      return opened[place]!;
    });
    return { hold: () => hold(), opened, closed, placeOf: (channel: Channel) => opened.indexOf(channel) };
  }

  it("is one for all who hold it, and is closed by the last", () => {
    const { hold, opened, closed } = channels();
    const [one, two] = [hold(), hold()];
    expect(one.channel).to.equal(two.channel);
    one.giveBack(false);
    expect(closed).to.deep.equal([]);
    two.giveBack(false);
    expect(closed).to.deep.equal([0]);
    hold();
    expect(opened).to.have.length(2);
  });

  it("is not handed out again once somebody found nobody on it, and stays open for the others", () => {
    const { hold, closed, placeOf } = channels();
    const [one, two] = [hold(), hold()];
    one.giveBack(true);
    const next = hold();
    expect(placeOf(next.channel)).to.equal(1);
    expect(closed).to.deep.equal([]);
    // The second to find out goes where the first has gone.
    two.giveBack(true);
    expect(closed).to.deep.equal([0]);
    expect(hold().channel).to.equal(next.channel);
    expect(closed).to.deep.equal([0]);
  });
});
