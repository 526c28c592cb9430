// The channel of the calls beside the streams: one for all executions of this process, as their streams share one
// connection. News that concern many of them arrive together, and a server has one connection less for each.
//
// H1  A channel on which somebody found nobody is not handed out again: what looks connected may be cut off. Calls that
//     others have on it go on, and it is closed with the last who holds it.
import type { Channel } from "@grpc/grpc-js";

export interface ChannelHold {
  channel: Channel;
  /** Once, at the end; `foundNobody` when whoever asks next shall get another (H1). */
  giveBack(foundNobody: boolean): void;
}

/** Takes part in the channel in use. */
export type HoldChannel = () => ChannelHold;

/** `openChannel`: to the next server in turn. */
export function shareChannel(openChannel: () => Channel): HoldChannel {
  let current: { channel: Channel; holders: number } | undefined;
  return () => {
    current ??= { channel: openChannel(), holders: 0 };
    const held = current;
    held.holders++;
    return {
      channel: held.channel,
      giveBack(foundNobody) {
        held.holders--;
        if (current === held && (foundNobody || held.holders === 0)) current = undefined;
        if (held.holders === 0) held.channel.close();
      },
    };
  };
}
