import { execFileSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect } from "chai";
import { HealthClient } from "../../src/contract/grpc/health/v1/health.js";
import { AppError } from "../../src/core/app-error.js";
import { createLogger } from "../../src/process/log.js";
import {
  callUnary,
  channelCredentials,
  type ServerAddress,
  STREAM_CHANNEL_OPTIONS,
  serverStream,
  UNARY_CHANNEL_OPTIONS,
} from "../../src/rpc/channel.js";
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from "../../src/server/endpoint/grpc-server.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("The client's channel", () => {
  const clients: HealthClient[] = [];
  const connect = (to: ServerAddress, options = UNARY_CHANNEL_OPTIONS) => {
    const client = new HealthClient(to.address, channelCredentials(to), options);
    clients.push(client);
    return client;
  };
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  describe("to a server that is not there", () => {
    it("says so, and names the address", async () => {
      const error = await rejection(callUnary(connect({ address: "127.0.0.1:9" }), "check", { service: "" }));
      expect(error).to.be.instanceOf(AppError);
      expect(error).to.include({ code: "unavailable" });
      expect(error.message).to.contain("127.0.0.1:9").and.contain("ECONNREFUSED");
    });

    it("says so for a stream too", async () => {
      const stream = serverStream(connect({ address: "127.0.0.1:9" }, STREAM_CHANNEL_OPTIONS).watch({ service: "" }));
      const error = await rejection(stream[Symbol.asyncIterator]().next());
      expect(error).to.include({ code: "unavailable" });
    });
  });

  describe("to a server that never answers", () => {
    const taken: Socket[] = [];
    const silent = createServer((socket) => taken.push(socket));
    let address: string;
    before(async () => {
      silent.listen(0, "127.0.0.1");
      await once(silent, "listening");
      address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    });
    after(() => {
      silent.close();
      for (const socket of taken) socket.destroy();
    });

    it("gives up at the deadline", async () => {
      const call = callUnary(connect({ address }), "check", { service: "" }, { deadlineMs: 50 });
      expect(await rejection(call)).to.include({ code: "deadline" });
    });

    it("gives up when its signal aborts, before and during the call", async () => {
      const client = connect({ address });
      const leave = new AbortController();
      const call = rejection(callUnary(client, "check", { service: "" }, { signal: leave.signal }));
      leave.abort();
      expect(await call).to.include({ code: "cancelled" });
      expect(await rejection(callUnary(client, "check", { service: "" }, { signal: leave.signal }))).to.include({
        code: "cancelled",
      });
    });
  });

  it("names a certificate file that cannot be read", () => {
    const tls = { caFile: "/nowhere/ca.pem" };
    expect(() => channelCredentials({ address: "x:1", tls })).to.throw(AppError, "/nowhere/ca.pem");
    expect(() => channelCredentials({ address: "x:1", tls: { certFile: "c.pem" } })).to.throw(AppError, "key file");
  });

  describe("with TLS", () => {
    let directory: string;
    let server: GrpcServer | undefined;
    before(async function () {
      directory = await makeTestDirectory();
      try {
        for (const name of ["server", "client", "stranger"]) makeCertificate(directory, name);
      } catch (error) {
        this.test!.parent!.title += ` (pending: openssl cannot make certificates here: ${(error as Error).message})`;
        this.skip();
      }
    });
    afterEach(() => server?.drain(0));
    after(() => removeTestDirectory(directory));

    const file = (name: string) => join(directory, name);
    const listen = async (tls: GrpcServerOptions["tls"]) => {
      server = createGrpcServer({ services: [], verifyToken: unused, log: createLogger("test", "silent"), tls });
      const { port } = await server.listen("127.0.0.1:0");
      return `localhost:${port}`;
    };

    it("talks to a server whose certificate it trusts, and to no other", async () => {
      const address = await listen({ certFile: file("server.crt"), keyFile: file("server.key") });
      const trusting = connect({ address, tls: { caFile: file("server.crt") } });
      await callUnary(trusting, "check", { service: "" });
      const distrusting = connect({ address, tls: { caFile: file("stranger.crt") } });
      expect(await rejection(callUnary(distrusting, "check", { service: "" }))).to.include({ code: "unavailable" });
      expect(await rejection(callUnary(connect({ address }), "check", { service: "" }))).to.include({
        code: "unavailable",
      });
    });

    it("shows its certificate to a server that asks for one", async () => {
      const address = await listen({
        certFile: file("server.crt"),
        keyFile: file("server.key"),
        clientCaFile: file("client.crt"),
      });
      const caFile = file("server.crt");
      const known = { caFile, certFile: file("client.crt"), keyFile: file("client.key") };
      await callUnary(connect({ address, tls: known }), "check", { service: "" });
      const unknown = { caFile, certFile: file("stranger.crt"), keyFile: file("stranger.key") };
      for (const tls of [unknown, { caFile }])
        expect(await rejection(callUnary(connect({ address, tls }), "check", { service: "" }))).to.include({
          code: "unavailable",
        });
    });
  });
});

const unused = () => Promise.reject(new Error("unused"));

/** A self-signed certificate for localhost, and its key. */
function makeCertificate(directory: string, name: string): void {
  const args = [
    "req",
    "-x509",
    "-nodes",
    "-days",
    "1",
    "-subj",
    `/CN=${name}`,
    "-addext",
    "subjectAltName=DNS:localhost",
  ];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", join(directory, `${name}.key`)];
  execFileSync("openssl", [...args, ...key, "-out", join(directory, `${name}.crt`)], { stdio: "pipe" });
}
