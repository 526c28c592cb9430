import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Client, credentials, status } from "@grpc/grpc-js";
import { expect } from "chai";
import { AppError, notFound } from "../../src/core/app-error.js";
import { openDuplex, serverStream } from "../../src/rpc/channel.js";
import { implementation } from "../../src/rpc/handlers.js";
import { startBreakableProxy } from "../support/breakable-proxy.js";
import { type Deferred, deferred } from "../support/deferred.js";
import {
  callEcho,
  ECHO,
  type EchoHandlers,
  type EchoMethods,
  type EchoServer,
  type Note,
  openCollect,
  openList,
  openTalk,
  startEchoServer,
} from "../support/echo-server.js";
import { rejection } from "../support/rejection.js";

describe("Service methods behind gRPC", () => {
  let server: EchoServer;
  const start = async (methods: Partial<EchoMethods>) => {
    server = await startEchoServer(methods);
    return server;
  };
  afterEach(() => server.close());

  describe("unary", () => {
    it("answers with what the method returns", async () => {
      const { client } = await start({ unary: async ({ text }) => ({ text: text.toUpperCase() }) });
      expect(await callEcho(client, "hello")).to.deep.equal({ text: "HELLO" });
    });

    it("answers a rejection at once with its status, instead of silence until the deadline", async () => {
      const { client, faults } = await start({ unary: async () => Promise.reject(notFound('workflow "sales"')) });
      const error = await rejection(callEcho(client, ""));
      expect(error).to.include({
        code: status.NOT_FOUND,
        details: 'There is no workflow "sales", or you may not see it.',
      });
      expect(faults).to.be.empty;
    });

    it("hides the message of an unknown error from the caller and reports it whole", async () => {
      const secret = new Error("password is 1234");
      const { client, faults } = await start({
        unary: () => {
          throw secret;
        },
      });
      const error = await rejection(callEcho(client, ""));
      expect(error).to.include({ code: status.INTERNAL, details: "internal error" });
      expect(JSON.stringify(error)).not.to.contain("1234");
      expect(faults).to.deep.equal([secret]);
    });

    it("survives text that HTTP/2 headers cannot carry", async () => {
      const message = `half a pair \ud83d and a line\nbreak, ${"long ".repeat(5_000)}`;
      const { client } = await start({ unary: async () => Promise.reject(new AppError("invalid", "X", message)) });
      const error = await rejection(callEcho(client, ""));
      expect(error).to.include({ code: status.INVALID_ARGUMENT });
      expect(error.message).to.contain("line\nbreak");
    });

    it("aborts the signal when the client gives the call up, and reports nothing", async () => {
      const aborted = deferred<unknown>();
      const begun = deferred<void>();
      const { client, faults } = await start({
        unary: async (_, { signal }) => {
          signal.addEventListener("abort", () => aborted.resolve(signal.reason));
          begun.resolve();
          await aborted.promise;
          throw new Error("what a driver says when it is aborted");
        },
      });
      const call = client.makeUnaryRequest(
        ECHO.unary.path,
        ECHO.unary.requestSerialize,
        ECHO.unary.responseDeserialize,
        { text: "" },
        () => {},
      );
      await begun.promise;
      call.cancel();
      expect(await aborted.promise).to.include({ code: "cancelled" });
      await callUntilNextTurn();
      expect(faults).to.be.empty;
    });

    it("aborts the signal when the deadline passes", async () => {
      const aborted = deferred<unknown>();
      const { client } = await start({
        // biome-ignore lint/correctness/useYield: the call is to last
        list: async function* (_, { signal }) {
          await once(signal, "abort");
          aborted.resolve(signal.reason);
        },
      });
      const call = serverStream(openList(client, "", { deadline: Date.now() + 100 }));
      expect(await rejection(collect(call))).to.include({ code: "deadline" });
      expect(await aborted.promise).to.be.instanceOf(AppError);
    });

    it("answers DRAINING when the server stops waiting", async () => {
      const begun = deferred<void>();
      const { client, stop, faults } = await start({
        unary: async (_, { signal }) => {
          begun.resolve();
          await delay(60_000, undefined, { signal });
          return { text: "" };
        },
      });
      const call = rejection(callEcho(client, ""));
      await begun.promise;
      stop.abort(new AppError("unavailable", "DRAINING", "This server is stopping."));
      expect(await call).to.include({ code: status.UNAVAILABLE, details: "This server is stopping." });
      expect(faults).to.be.empty;
    });

    it("refuses to be built when a method is missing", async () => {
      await start({});
      const build = () =>
        implementation<Partial<EchoHandlers>, object>(ECHO, {}, { contextOf: () => ({}), onFault: () => {} });
      expect(build).to.throw("/test.Echo/Unary has no implementation");
    });
  });

  describe("server streaming", () => {
    it("delivers every reply and the end", async () => {
      const { client } = await start({ list: count(100) });
      expect(await collect(serverStream(openList(client, "")))).to.have.length(100);
    });

    it("delivers the replies that came before an error, then the error", async () => {
      const { client } = await start({
        async *list() {
          yield { text: "one" };
          throw notFound("more");
        },
      });
      const got: Note[] = [];
      const error = await rejection(collect(serverStream(openList(client, "")), got));
      expect(error).to.be.instanceOf(AppError);
      expect(error).to.include({ code: "not-found", reason: "NOT_FOUND" });
      expect(got).to.deep.equal([{ text: "one" }]);
    });

    it("ends a stream that fails unexpectedly with INTERNAL, and reports why", async () => {
      const { client, faults } = await start({
        // biome-ignore lint/correctness/useYield: it fails before
        async *list() {
          throw new TypeError("secret");
        },
      });
      expect(await rejection(collect(serverStream(openList(client, ""))))).to.include({
        code: "internal",
        message: "internal error",
      });
      expect(faults).to.have.length(1);
    });

    it("makes the method wait for a slow reader instead of piling replies up", async () => {
      let produced = 0;
      const text = "x".repeat(64 * 1024);
      const { client } = await start({
        async *list() {
          for (; produced < 1_000; produced++) yield { text };
        },
      });
      const replies = serverStream(openList(client, ""))[Symbol.asyncIterator]();
      await replies.next();
      const highest = await settled(() => produced);
      expect(highest).to.be.below(200);
      for (let i = 0; i < 300; i++) await replies.next();
      expect(produced).to.be.above(300);
      await replies.return?.();
    });

    it("ends the method's generator when the client leaves", async () => {
      const left = deferred<void>();
      const { client, faults } = await start({
        async *list(_, { signal }) {
          try {
            for (;;) {
              yield { text: "" };
              await delay(1, undefined, { signal });
            }
          } finally {
            left.resolve();
          }
        },
      });
      for await (const _ of serverStream(openList(client, ""))) break;
      await left.promise;
      await callUntilNextTurn();
      expect(faults).to.be.empty;
    });
  });

  describe("client streaming", () => {
    it("hands every message to the method and answers once", async () => {
      const { client } = await start({ collect: async (notes) => ({ text: String((await collect(notes)).length) }) });
      const reply = deferred<Note>();
      const call = openCollect(client, (error, note) => (error ? reply.reject(error) : reply.resolve(note!)));
      for (let i = 0; i < 50; i++) call.write({ text: String(i) });
      call.end();
      expect(await reply.promise).to.deep.equal({ text: "50" });
    });

    it("answers a refusal before the client has said everything", async () => {
      const { client } = await start({
        collect: async (notes) => {
          for await (const _ of notes) throw new AppError("exhausted", "QUOTA_EXCEEDED", "Too much.");
          return { text: "" };
        },
      });
      const reply = deferred<Note>();
      const call = openCollect(client, (error, note) => (error ? reply.reject(error) : reply.resolve(note!)));
      call.write({ text: "" });
      expect(await rejection(reply.promise)).to.include({ code: status.RESOURCE_EXHAUSTED });
    });

    it("tells the method when the connection breaks, instead of passing it for the end", async () => {
      const seen = deferred<unknown>();
      const begun = deferred();
      const { address } = await start({
        collect: async (notes) => {
          await collect(announced(notes, begun)).then(() => seen.resolve("the end"), seen.resolve);
          return { text: "" };
        },
      });
      const proxy = await startBreakableProxy(address);
      const client = new Client(proxy.address, credentials.createInsecure());
      const call = openCollect(client, () => {});
      call.write({ text: "" });
      await begun.promise;
      await proxy.break();
      expect(await seen.promise).to.include({ code: "cancelled" });
      client.close();
    });
  });

  describe("bidirectional", () => {
    it("delivers the last replies and the status after the client has said everything", async () => {
      const { client } = await start({
        async talk({ incoming, send }) {
          for await (const note of incoming) await send(note);
          await send({ text: "goodbye" });
        },
      });
      const { incoming, send, end } = openDuplex<Note, Note>(openTalk(client));
      for (let i = 0; i < 5; i++) await send({ text: String(i) });
      end();
      expect((await collect(incoming)).map(({ text }) => text)).to.deep.equal(["0", "1", "2", "3", "4", "goodbye"]);
    });

    it("may stop listening early and still say something", async () => {
      const { client } = await start({
        async talk({ incoming, send }) {
          for await (const _ of incoming) break;
          await send({ text: "enough" });
        },
      });
      const { incoming, send } = openDuplex<Note, Note>(openTalk(client));
      await send({ text: "" });
      expect(await collect(incoming)).to.deep.equal([{ text: "enough" }]);
    });

    it("ends a failing stream with its status while the client is still talking", async () => {
      const { client } = await start({
        async talk({ incoming }) {
          for await (const _ of incoming) throw new AppError("precondition", "STALE_LEASE", "Stop this work.");
        },
      });
      const { incoming, send } = openDuplex<Note, Note>(openTalk(client));
      await send({ text: "" });
      expect(await rejection(collect(incoming))).to.include({ reason: "STALE_LEASE", message: "Stop this work." });
      expect(await rejection(send({ text: "" }))).to.include({ reason: "STALE_LEASE" });
    });

    it("makes a fast client wait for a server that does not read", async () => {
      const go = deferred<void>();
      const { client } = await start({
        async talk({ incoming, send }) {
          await go.promise;
          await send({ text: String((await collect(incoming)).length) });
        },
      });
      const { incoming, send, end } = openDuplex<Note, Note>(openTalk(client));
      let sent = 0;
      const sending = (async () => {
        for (; sent < 500; sent++) await send({ text: "x".repeat(64 * 1024) });
        end();
      })();
      expect(await settled(() => sent)).to.be.below(200);
      go.resolve();
      await sending;
      expect(await collect(incoming)).to.deep.equal([{ text: "500" }]);
    });

    it("makes a fast server wait for a client that does not read", async () => {
      let sent = 0;
      const { client } = await start({
        async talk({ send }) {
          for (; sent < 500; sent++) await send({ text: "x".repeat(64 * 1024) });
        },
      });
      const { incoming } = openDuplex<Note, Note>(openTalk(client));
      expect(await settled(() => sent)).to.be.below(200);
      expect(await collect(incoming)).to.have.length(500);
    });

    it("lets many send at once, in the order of their calls, with one set of listeners", async () => {
      const warnings: Error[] = [];
      const warn = (warning: Error) => void warnings.push(warning);
      process.on("warning", warn);
      const { client } = await start({
        async talk({ send }) {
          await Promise.all(Array.from({ length: 100 }, (_, index) => send({ text: String(index).padEnd(64 * 1024) })));
        },
      });
      const { incoming } = openDuplex<Note, Note>(openTalk(client));
      const order = (await collect(incoming)).map(({ text }) => Number(text));
      expect(order).to.deep.equal(Array.from({ length: 100 }, (_, index) => index));
      process.off("warning", warn);
      expect(warnings).to.be.empty;
    });

    it("rejects a send that waits when the client goes", async () => {
      const outcome = deferred<unknown>();
      const { client } = await start({
        async talk({ send }) {
          const flood = async () => {
            for (;;) await send({ text: "x".repeat(64 * 1024) });
          };
          outcome.resolve(await flood().catch((error) => error));
        },
      });
      const duplex = openDuplex<Note, Note>(openTalk(client));
      await duplex.incoming[Symbol.asyncIterator]().next();
      duplex.cancel();
      expect(await outcome.promise).to.include({ code: "cancelled" });
    });
  });

  function count(total: number): EchoMethods["list"] {
    return async function* () {
      for (let i = 0; i < total; i++) yield { text: String(i) };
    };
  }

  /** A round trip on the same connection: what was sent before has arrived. */
  async function callUntilNextTurn(): Promise<void> {
    await new Promise<void>((resolve) => {
      const { requestSerialize, responseDeserialize } = ECHO.unary;
      const nothing = "/test.Echo/Nothing";
      server.client.makeUnaryRequest(nothing, requestSerialize, responseDeserialize, { text: "" }, () => resolve());
    });
    await delay(10);
  }
});

/** The same messages; `begun` is resolved with the first. */
async function* announced<T>(from: AsyncIterable<T>, begun: Deferred<void>): AsyncIterable<T> {
  for await (const one of from) {
    begun.resolve();
    yield one;
  }
}

async function collect<T>(from: AsyncIterable<T>, into: T[] = []): Promise<T[]> {
  for await (const one of from) into.push(one);
  return into;
}

/** The value once it has not changed for a while. */
async function settled(read: () => number): Promise<number> {
  for (let last = -1; ; ) {
    await delay(200);
    const now = read();
    if (now === last) return now;
    last = now;
  }
}
