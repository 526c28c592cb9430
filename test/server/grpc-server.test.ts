import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type Client, credentials, type ServiceDefinition, status } from "@grpc/grpc-js";
import { expect } from "chai";
import { pino } from "pino";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../../src/contract/grpc/health/v1/health.js";
import {
  ServerReflectionClient,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from "../../src/contract/grpc/reflection/v1/reflection.js";
import { ServerReflectionClient as ServerReflectionAlphaClient } from "../../src/contract/grpc/reflection/v1alpha/reflection.js";
import {
  CompileRequest,
  CompileServiceClient,
  type CompileServiceServer,
  CompileServiceService,
} from "../../src/contract/postern/v1/compile.js";
import {
  ExecutionServiceClient,
  type ExecutionServiceServer,
  ExecutionServiceService,
  type WatchExecutionRequest,
} from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import type { Logger } from "../../src/process/log.js";
import { bearer, callUnary, openDuplex, serverStream } from "../../src/rpc/channel.js";
import type { ServiceMethods } from "../../src/rpc/handlers.js";
import type { CallContext, Caller } from "../../src/server/access/caller.js";
import { providerKeys } from "../../src/server/access/token-keys.js";
import { createTokenVerifier, type VerifyToken } from "../../src/server/access/token-verification.js";
import { createTokenIssuer, type TokenIssuer } from "../../src/server/access/tokens.js";
import {
  createGrpcServer,
  type GrpcServer,
  type MountedService,
  mount,
} from "../../src/server/endpoint/grpc-server.js";
import { deferred } from "../support/deferred.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import {
  createIdentityProvider,
  type IdentityProvider,
  TEST_AUDIENCE,
  TEST_ISSUER,
  writePrivateKey,
} from "../support/tokens.js";

type ExecutionMethods = ServiceMethods<ExecutionServiceServer, CallContext>;

describe("The gRPC server", () => {
  let directory: string;
  let provider: IdentityProvider;
  let own: TokenIssuer;
  let verifyToken: VerifyToken;
  let logged: { level: number; msg: string; method?: string; status?: string; err?: { message: string } }[];
  let log: Logger;
  const ends: (() => Promise<unknown> | unknown)[] = [];

  before(async () => {
    directory = await makeTestDirectory();
    provider = await createIdentityProvider(directory);
    const keyFile = await writePrivateKey(directory);
    own = await createTokenIssuer({ keyFile, executionTokenSeconds: 600, serveTokenSeconds: 600 });
    verifyToken = createTokenVerifier({
      issuer: TEST_ISSUER,
      audience: TEST_AUDIENCE,
      providerKeys: providerKeys(provider.jwksUrl),
      ownKeys: own.publicKeys,
    });
  });
  beforeEach(() => {
    logged = [];
    log = pino<never>({ level: "debug" }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  });
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  after(() => removeTestDirectory(directory));

  const compile = (methods: Partial<ServiceMethods<CompileServiceServer, CallContext>> = {}) =>
    mount<CompileServiceServer>(CompileServiceService, {
      compile: async () => ({ plan: undefined, planDigest: "", diagnostics: [], schedule: undefined }),
      listOperatorTypes: async () => ({ operatorTypes: [] }),
      ...methods,
    });
  const execution = (methods: Partial<ExecutionMethods>): MountedService => {
    const unused = Object.keys(ExecutionServiceService).map((name) => [
      name,
      () => Promise.reject(new Error("unused")),
    ]);
    return { definition: ExecutionServiceService, methods: { ...Object.fromEntries(unused), ...methods } };
  };

  async function start(services: MountedService[]): Promise<{ server: GrpcServer; address: string }> {
    const server = createGrpcServer({ services, verifyToken, log });
    ends.push(() => server.drain(0));
    const { address } = await server.listen("127.0.0.1:0");
    return { server, address };
  }
  /** A client that is closed after the test. */
  function connect<C extends Client>(
    Kind: new (address: string, c: ReturnType<typeof credentials.createInsecure>) => C,
    address: string,
  ): C {
    const client = new Kind(address, credentials.createInsecure());
    ends.push(() => client.close());
    return client;
  }

  describe("authentication", () => {
    /** Starts a server and tells with what a call ends, and whom the service saw. */
    async function compileClient() {
      const seen: Caller[] = [];
      const { address } = await start([
        compile({
          async listOperatorTypes(_, { caller }) {
            seen.push(caller);
            return { operatorTypes: [] };
          },
        }),
      ]);
      const client = connect(CompileServiceClient, address);
      return { seen, list: (token?: string) => callUnary(client, "listOperatorTypes", {}, { token }) };
    }

    it("tells the service who calls", async () => {
      const { list, seen } = await compileClient();
      await list(await provider.userToken({ sub: "bob" }));
      expect(seen).to.have.length(1);
      expect(seen[0]).to.include({ kind: "user", subject: "bob" });
    });

    it("refuses a call without token, with a broken header, an expired or foreign token, or a missing scope", async () => {
      const { list, seen } = await compileClient();
      const refused = async (token?: string) => (await rejection(list(token))).reason;
      expect(await refused()).to.equal("TOKEN_INVALID");
      expect(await refused("two words")).to.equal("TOKEN_INVALID");
      expect(await refused(await provider.userToken({ expiresIn: -1 }))).to.equal("TOKEN_EXPIRED");
      expect(await refused(await provider.userToken({ audience: "shop" }))).to.equal("TOKEN_INVALID");
      expect(await refused(await provider.userToken({ scopes: ["write"] }))).to.equal("SCOPE_MISSING");
      const execution = await own.mintExecutionToken({ executionId: "x", attempt: 1, epoch: 1n });
      expect(await refused(execution.token)).to.equal("SCOPE_MISSING");
      expect(seen).to.be.empty;
    });

    it("says which scope is missing, with PERMISSION_DENIED", async () => {
      const { list } = await compileClient();
      expect(await rejection(list(await provider.userToken({ scopes: ["write", "run"] })))).to.include({
        code: "forbidden",
        message: "This call needs a token with the scope read; yours has write, run.",
      });
    });

    it("keeps callers on one connection apart", async () => {
      const { address } = await start([
        compile({
          async listOperatorTypes(_, { caller }) {
            await delay(5);
            throw new AppError("not-found", "NOT_FOUND", caller.kind === "user" ? caller.subject : caller.kind);
          },
        }),
      ]);
      const client = connect(CompileServiceClient, address);
      const names = Array.from({ length: 20 }, (_, index) => `user-${index}`);
      const answers = await Promise.all(
        names.map(async (sub) => {
          const token = await provider.userToken({ sub });
          return (await rejection(callUnary(client, "listOperatorTypes", {}, { token }))).message;
        }),
      );
      expect(answers).to.deep.equal(names);
    });

    it("lets calls of scope NONE pass without a token", async () => {
      const { address } = await start([
        execution({
          async getCapabilities(_, { caller }) {
            throw new AppError("not-found", "NOT_FOUND", caller.kind);
          },
        }),
      ]);
      const client = connect(ExecutionServiceClient, address);
      expect((await rejection(callUnary(client, "getCapabilities", {}))).message).to.equal("anonymous");
    });

    it("lets a stream live on when its token runs out", async () => {
      const go = deferred();
      const { address } = await start([
        execution({
          async *watchExecution() {
            yield { item: undefined };
            await go.promise;
            yield { item: undefined };
          },
        }),
      ]);
      const client = connect(ExecutionServiceClient, address);
      const token = await provider.userToken({ expiresIn: 2 });
      const replies = serverStream(client.watchExecution(watchRequest, bearer(token)))[Symbol.asyncIterator]();
      await replies.next();
      await delay(2_100);
      expect((await rejection(callUnary(client, "getExecution", { executionId: "" }, { token }))).reason).to.equal(
        "TOKEN_EXPIRED",
      );
      go.resolve();
      expect(await replies.next()).to.include({ done: false });
      expect(await replies.next()).to.include({ done: true });
    });

    it("takes a token of the right kind for streams of executors only", async () => {
      const { address } = await start([
        execution({
          async attach({ incoming }) {
            for await (const _ of incoming);
          },
        }),
      ]);
      const client = connect(ExecutionServiceClient, address);
      const attach = async (token: string) => {
        const { incoming, end } = openDuplex(client.attach(bearer(token)));
        end();
        for await (const _ of incoming);
      };
      const { token } = await own.mintExecutionToken({ executionId: "x", attempt: 1, epoch: 1n });
      await attach(token);
      const serve = await own.mintServeToken({ projectId: "p", computingUnitId: "c", subject: "s" });
      expect(await rejection(attach(serve.token))).to.include({ reason: "SCOPE_MISSING" });
      expect(await rejection(attach(await provider.userToken()))).to.include({ reason: "SCOPE_MISSING" });
    });
  });

  describe("start", () => {
    it("refuses a method that declares no scope", () => {
      const bare: ServiceDefinition = {
        call: { ...CompileServiceService.compile, path: "/postern.v1.CompileService/Undeclared" },
      };
      const make = () => createGrpcServer({ services: [{ definition: bare, methods: {} }], verifyToken, log });
      expect(make).to.throw("/postern.v1.CompileService/Undeclared declares no scope");
    });

    it("refuses a method that has no handler", () => {
      const services = [{ definition: CompileServiceService, methods: { compile: async () => ({}) } }];
      expect(() => createGrpcServer({ services, verifyToken, log })).to.throw(
        "ListOperatorTypes has no implementation",
      );
    });

    it("refuses to listen beyond this machine in the clear, unless that is allowed expressly", async () => {
      const server = createGrpcServer({ services: [compile()], verifyToken, log });
      ends.push(() => server.drain(0));
      for (const address of ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"])
        expect((await rejection(server.listen(address))).message).to.contain("POSTERN_ALLOW_PLAINTEXT");
    });

    it("says which address is taken", async () => {
      const { address } = await start([compile()]);
      const second = createGrpcServer({ services: [compile()], verifyToken, log });
      ends.push(() => second.drain(0));
      const error = await rejection(second.listen(address));
      expect(error.message).to.contain(address).and.contain("POSTERN_LISTEN");
    });

    it("has a declared scope for every call of the contract", async () => {
      const { descriptors } = await import("../../src/rpc/descriptors.js");
      const ours = [...descriptors().registry].filter(
        (one) => one.kind === "service" && one.typeName.startsWith("postern."),
      );
      expect(ours).to.have.length.above(5);
      for (const service of ours)
        if (service.kind === "service")
          for (const { name } of service.methods)
            expect(descriptors().anyScope(`/${service.typeName}/${name}`), name).not.to.be.empty;
    });
  });

  describe("errors and log", () => {
    it("logs an unknown error whole and tells the caller nothing", async () => {
      const { address } = await start([
        compile({
          async listOperatorTypes() {
            throw new Error("the disk with the secrets is full");
          },
        }),
      ]);
      const token = await provider.userToken();
      const client = connect(CompileServiceClient, address);
      expect(await rejection(callUnary(client, "listOperatorTypes", {}, { token }))).to.include({
        code: "internal",
        message: "internal error",
      });
      const line = logged.find(({ level }) => level === 50);
      expect(line).to.deep.include({ method: "/postern.v1.CompileService/ListOperatorTypes" });
      expect(line?.err?.message).to.contain("secrets");
      expect(JSON.stringify(logged)).not.to.contain(token);
    });

    it("reports a reply that cannot be serialised", async () => {
      const { address } = await start([
        compile({
          compile: async () => ({
            plan: undefined,
            planDigest: "",
            diagnostics: "no list" as never,
            schedule: undefined,
          }),
        }),
      ]);
      const client = connect(CompileServiceClient, address);
      const token = await provider.userToken();
      const call = callUnary(client, "compile", CompileRequest.fromPartial({}), { token });
      expect(await rejection(call)).to.include({ code: "internal" });
      expect(logged.filter(({ level }) => level === 50)).to.have.length(1);
    });

    it("logs each call once, at debug, with its status; a client that leaves is no error", async () => {
      const begun = deferred();
      const { address } = await start([
        compile({
          async compile(_, { signal }) {
            begun.resolve();
            await once(signal, "abort");
            throw new Error("a consequence of leaving");
          },
        }),
      ]);
      const client = connect(CompileServiceClient, address);
      const token = await provider.userToken();
      await callUnary(client, "listOperatorTypes", {}, { token });
      await rejection(callUnary(client, "listOperatorTypes", {}));
      const leave = new AbortController();
      const left = rejection(
        callUnary(client, "compile", CompileRequest.fromPartial({}), { token, signal: leave.signal }),
      );
      await begun.promise;
      leave.abort();
      expect(await left).to.include({ code: "cancelled" });
      while (logged.length < 3) await delay(5);
      expect(logged.map(({ level, status }) => [level, status])).to.deep.equal([
        [20, "OK"],
        [20, "UNAUTHENTICATED"],
        [20, "CANCELLED"],
      ]);
    });
  });

  describe("draining", () => {
    it("says NOT_SERVING, refuses new calls, lets those under way finish, then is gone", async () => {
      const go = deferred();
      const begun = deferred();
      const { server, address } = await start([
        compile({
          async listOperatorTypes() {
            begun.resolve();
            await go.promise;
            return { operatorTypes: [] };
          },
        }),
      ]);
      const client = connect(CompileServiceClient, address);
      const health = connect(HealthClient, address);
      const states = serverStream(health.watch({ service: "" }))[Symbol.asyncIterator]();
      expect((await states.next()).value).to.deep.equal({ status: HealthCheckResponse_ServingStatus.SERVING });
      const token = await provider.userToken();
      const underWay = callUnary(client, "listOperatorTypes", {}, { token });
      await begun.promise;
      const drained = server.drain(60_000);
      expect(server.draining.aborted).to.equal(true);
      expect((await states.next()).value).to.deep.equal({ status: HealthCheckResponse_ServingStatus.NOT_SERVING });
      const late = connect(CompileServiceClient, address);
      expect(await rejection(callUnary(late, "listOperatorTypes", {}, { token }))).to.include({ code: "unavailable" });
      go.resolve();
      expect(await underWay).to.deep.equal({ operatorTypes: [] });
      await drained;
    });

    it("ends what is still running after the grace with UNAVAILABLE, DRAINING", async () => {
      const { server, address } = await start([
        execution({
          async *watchExecution(_, { signal }) {
            yield { item: undefined };
            await once(signal, "abort");
            throw signal.reason;
          },
        }),
      ]);
      const client = connect(ExecutionServiceClient, address);
      const replies = serverStream(client.watchExecution(watchRequest, bearer(await provider.userToken())));
      const iterator = replies[Symbol.asyncIterator]();
      await iterator.next();
      const ended = rejection(iterator.next());
      await server.drain(10);
      expect(await ended).to.include({ code: "unavailable", reason: "DRAINING" });
      expect(logged.filter(({ level }) => level >= 50)).to.be.empty;
    });

    it("does not wait for a method that ignores its signal", async () => {
      const { server, address } = await start([
        execution({
          async *watchExecution() {
            yield { item: undefined };
            await new Promise(() => {});
          },
        }),
      ]);
      const client = connect(ExecutionServiceClient, address);
      const replies = serverStream(client.watchExecution(watchRequest, bearer(await provider.userToken())));
      const iterator = replies[Symbol.asyncIterator]();
      await iterator.next();
      const ended = rejection(iterator.next());
      await server.drain(10);
      expect(await ended).to.be.instanceOf(AppError);
    });
  });

  describe("what stock tools need", () => {
    it("answers health checks without a token, for the server and each service", async () => {
      const { address } = await start([compile()]);
      const health = connect(HealthClient, address);
      const { SERVING } = HealthCheckResponse_ServingStatus;
      for (const service of ["", "postern.v1.CompileService"])
        expect(await callUnary(health, "check", { service })).to.deep.equal({ status: SERVING });
      expect(await rejection(callUnary(health, "check", { service: "nothing" }))).to.include({ code: "not-found" });
    });

    for (const [version, Kind] of [
      ["v1", ServerReflectionClient],
      ["v1alpha", ServerReflectionAlphaClient],
    ] as const) {
      it(`answers reflection ${version} without a token, each file with all it depends on`, async () => {
        const { address } = await start([compile()]);
        const client = connect<ServerReflectionClient>(Kind, address);
        const ask = asker(client);
        const services = await ask({ $case: "listServices", value: "" });
        expect(services).to.deep.include({ $case: "listServicesResponse" });
        expect(services?.value).to.deep.equal({
          service: [
            "postern.v1.CompileService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
          ].map((name) => ({ name })),
        });
        for (const value of [
          "postern.v1.CompileService",
          "postern.v1.CompileService.Compile",
          "postern.v1.CompileRequest",
        ])
          expectClosed(await ask({ $case: "fileContainingSymbol", value }), "postern/v1/compile.proto");
        expectClosed(await ask({ $case: "fileByFilename", value: "postern/v1/plan.proto" }), "postern/v1/plan.proto");
        expectClosed(
          await ask({
            $case: "fileContainingExtension",
            value: { containingType: "google.protobuf.MethodOptions", extensionNumber: 50_610 },
          }),
          "postern/v1/options.proto",
        );
        expect(await ask({ $case: "allExtensionNumbersOfType", value: "google.protobuf.MethodOptions" })).to.deep.equal(
          {
            $case: "allExtensionNumbersResponse",
            value: { baseTypeName: "google.protobuf.MethodOptions", extensionNumber: [50_610] },
          },
        );
        for (const value of ["nothing", "postern.v1.CompileService.Nothing"]) {
          const answer = await ask({ $case: "fileContainingSymbol", value });
          expect(answer?.value).to.include({ errorCode: status.NOT_FOUND });
        }
      });
    }
  });

  it("answers a request larger than the limit with RESOURCE_EXHAUSTED", async () => {
    const server = createGrpcServer({ services: [compile()], verifyToken, log, maxMessageBytes: 1_000 });
    ends.push(() => server.drain(0));
    const { address } = await server.listen("127.0.0.1:0");
    const client = connect(CompileServiceClient, address);
    const token = await provider.userToken();
    const call = callUnary(client, "compile", CompileRequest.fromPartial({ projectId: "x".repeat(2_000) }), { token });
    expect(await rejection(call)).to.include({ code: "exhausted" });
  });
});

const watchRequest: WatchExecutionRequest = { executionId: "", after: 0n };

/** One question at a time on a reflection stream of its own. */
function asker(client: ServerReflectionClient) {
  return async (messageRequest: ServerReflectionRequest["messageRequest"]) => {
    const { incoming, send, end } = openDuplex<ServerReflectionRequest, ServerReflectionResponse>(
      client.serverReflectionInfo(),
    );
    await send({ host: "", messageRequest });
    end();
    const answers: ServerReflectionResponse[] = [];
    for await (const answer of incoming) answers.push(answer);
    expect(answers).to.have.length(1);
    return answers[0]!.messageResponse;
  };
}

/** The answer describes `file` and, transitively, everything it imports. */
function expectClosed(answer: ServerReflectionResponse["messageResponse"], file: string): void {
  if (answer?.$case !== "fileDescriptorResponse") throw new Error(`No file: ${JSON.stringify(answer)}`);
  const files = answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  const names = files.map(({ name }) => name);
  expect(names[0]).to.equal(file);
  expect(new Set(names).size).to.equal(names.length);
  expect(names).to.include.members(files.flatMap(({ dependency }) => dependency));
}
