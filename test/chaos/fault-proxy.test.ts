import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.js";

const deaf = { said: () => {}, spoke: () => {}, ended: () => {} };

/** Resolves when the socket has closed, with an error or without. */
const closing = (socket: Socket) => new Promise((resolve) => socket.once("close", resolve));

describe("the fault proxy", () => {
  let server: Server;
  let proxy: FaultProxy;
  let near: Socket;
  let far: Socket;
  const heard = { near: "", far: "" };

  async function connectThrough(idleMs = 0): Promise<void> {
    server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const targetPort = (server.address() as AddressInfo).port;
    proxy = await startFaultProxy({ targetPort, idleMs, listener: deaf });
    const accepted = once(server, "connection") as Promise<[Socket]>;
    near = connect(Number(proxy.address.split(":")[1]), "127.0.0.1");
    [far] = await accepted;
    heard.near = heard.far = "";
    near.on("data", (bytes) => (heard.near += bytes)).on("error", () => {}); // `close` tells
    far.on("data", (bytes) => (heard.far += bytes)).on("error", () => {});
  }
  afterEach(async () => {
    near.destroy();
    far.destroy();
    await proxy.close();
    server.close();
  });

  const until = async (what: () => boolean) => {
    for (const end = Date.now() + 5_000; !what() && Date.now() < end; await delay(5));
    expect(what()).to.equal(true);
  };

  it("passes both directions", async () => {
    await connectThrough();
    near.write("up");
    far.write("down");
    await until(() => heard.far === "up" && heard.near === "down");
  });

  it("holds one direction, the other goes on, and delivers what it held", async () => {
    await connectThrough();
    proxy.set("up", "hold");
    near.write("late");
    far.write("now");
    await until(() => heard.near === "now");
    expect(heard.far).to.equal("");
    proxy.set("up", "pass");
    await until(() => heard.far === "late");
  });

  it("delivers what it held even though its sender has gone, as a slow network does", async () => {
    await connectThrough();
    proxy.set("up", "hold");
    near.write("last words");
    await delay(20);
    near.destroy();
    await delay(20);
    expect(far.destroyed).to.equal(false);
    proxy.set("up", "pass");
    await until(() => heard.far === "last words");
  });

  it("swallows one direction while the connection stays open, which ends when the direction passes again", async () => {
    await connectThrough();
    proxy.set("down", "swallow");
    far.write("lost");
    near.write("heard");
    await until(() => heard.far === "heard");
    expect(near.destroyed).to.equal(false);
    const closed = closing(near);
    proxy.set("down", "pass");
    await closed;
    expect(heard.near).to.equal("");
  });

  it("cuts a connection on which nothing is said", async () => {
    await connectThrough(50);
    await closing(near);
  });

  it("cuts every connection, and refuses new ones for as long as it is told", async () => {
    await connectThrough();
    const closed = closing(near);
    proxy.refuse(true);
    proxy.cut();
    await closed;
    const refused = connect(Number(proxy.address.split(":")[1]), "127.0.0.1").on("error", () => {});
    await closing(refused);
  });
});
