// The network between one executor and one replica: a TCP proxy on loopback whose two directions can be disturbed each
// by itself while the connection stays open.
//
// F1  `swallow` loses what is sent meanwhile, `hold` delays it. In both the other side does not learn that a connection
//     was closed until the direction passes again, as with a cut cable.
// F2  A connection that lost bytes is destroyed when its direction passes again: a stream with a hole in it does not
//     exist in TCP.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createWireTap, type TapListener, type WireTap } from "./wire-tap.js";

export type Direction = "up" | "down";
/** `up` is from the executor to the server. */
export type Passage = "pass" | "swallow" | "hold";

export interface FaultProxy {
  /** host:port */
  address: string;
  /** What happens to bytes of a direction from now on; `pass` delivers what was held. */
  set(direction: Direction, passage: Passage): void;
  /** Destroys every connection. */
  cut(): void;
  /** While true new connections are destroyed at once. */
  refuse(refused: boolean): void;
  close(): Promise<void>;
}

interface Options {
  /** Port of the replica, on loopback. */
  targetPort: number;
  /** Cuts connections on which nothing was said for so long, in milliseconds; 0 never. */
  idleMs: number;
  listener: TapListener;
}

export async function startFaultProxy({ targetPort, idleMs, listener }: Options): Promise<FaultProxy> {
  const passage: Record<Direction, Passage> = { up: "pass", down: "pass" };
  const connections = new Set<Connection>();
  let refused = false;
  const server: Server = createServer((near) => {
    if (refused) return void near.resetAndDestroy();
    const connection = new Connection(near, connect(targetPort, "127.0.0.1"), passage, idleMs, createWireTap(listener));
    connections.add(connection);
    connection.onGone = () => connections.delete(connection);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const connection of [...connections]) connection.destroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    set: (direction, next) => {
      passage[direction] = next;
      if (next === "pass") for (const connection of [...connections]) connection.release(direction);
    },
    cut,
    refuse: (next) => {
      refused = next;
    },
    close: async () => {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}

/** Bytes one direction holds at most; more, and the sender is slowed down. */
const HELD_BYTES = 8 * 1024 * 1024;

class Connection {
  onGone: () => void = () => {};
  readonly #ends: Record<Direction, { from: Socket; to: Socket }>;
  readonly #passage: Record<Direction, Passage>;
  readonly #held: Record<Direction, Buffer[]> = { up: [], down: [] };
  readonly #heldBytes = { up: 0, down: 0 };
  readonly #lost = { up: false, down: false };
  readonly #closed = { up: false, down: false };
  readonly #tap: WireTap;
  #gone = false;

  constructor(near: Socket, far: Socket, passage: Record<Direction, Passage>, idleMs: number, tap: WireTap) {
    this.#ends = { up: { from: near, to: far }, down: { from: far, to: near } };
    this.#passage = passage;
    this.#tap = tap;
    for (const direction of ["up", "down"] as const) {
      const { from, to } = this.#ends[direction];
      from.setNoDelay(true);
      from.on("data", (bytes) => this.#take(direction, bytes));
      from.on("error", () => {}); // `close` follows
      from.on("close", () => this.#close(direction));
      to.on("drain", () => from.resume());
      if (idleMs > 0) from.setTimeout(idleMs, () => this.destroy());
    }
  }

  #take(direction: Direction, bytes: Buffer): void {
    this.#tap[direction](bytes);
    const { from, to } = this.#ends[direction];
    switch (this.#passage[direction]) {
      case "pass":
        if (!to.write(bytes)) from.pause();
        break;
      case "swallow":
        this.#lost[direction] = true;
        break;
      case "hold":
        this.#held[direction].push(bytes);
        this.#heldBytes[direction] += bytes.length;
        if (this.#heldBytes[direction] > HELD_BYTES) from.pause();
        break;
    }
  }

  #close(direction: Direction): void {
    if (this.#passage[direction] === "pass") this.destroy();
    else this.#closed[direction] = true;
  }

  release(direction: Direction): void {
    if (this.#lost[direction]) {
      this.destroy();
      return;
    }
    const { from, to } = this.#ends[direction];
    for (const bytes of this.#held[direction].splice(0)) to.write(bytes);
    this.#heldBytes[direction] = 0;
    from.resume();
    // What was held is still to arrive.
    if (this.#closed[direction]) to.end(() => this.destroy());
  }

  destroy(): void {
    if (this.#gone) return;
    this.#gone = true;
    for (const { from } of Object.values(this.#ends)) from.destroy();
    this.#tap.close();
    this.onGone();
  }
}
