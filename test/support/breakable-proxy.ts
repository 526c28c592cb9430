import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface BreakableProxy {
  address: string;
  /** Cuts every connection, both ends, without a word, and takes no new ones. */
  break(): Promise<void>;
}

/** A TCP proxy on loopback in front of `target` (`host:port`). */
export async function startBreakableProxy(target: string): Promise<BreakableProxy> {
  const [host, port] = target.split(":");
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), host);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy()); // a cut connection; nobody is there to be told
      socket.pipe(other);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async break() {
      server.close();
      for (const socket of sockets) socket.resetAndDestroy();
      await once(server, "close");
    },
  };
}
