// Every call of the contract, with every kind of token it must refuse; generated from the descriptors, so that a new
// call is covered the day it appears.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { credentials, loadPackageDefinition, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { expect } from "chai";
import { importPKCS8, SignJWT } from "jose";
import { Scope } from "../../src/contract/postern/v1/options.js";
import { DEVELOPMENT_AUDIENCE, DEVELOPMENT_ISSUER } from "../../src/dev/development-issuer.js";
import { descriptors } from "../../src/rpc/descriptors.js";
import { outputPort } from "../support/cache-entries.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

const calls = [...descriptors().registry]
  .filter((type) => type.kind === "service")
  .filter((service) => service.typeName.startsWith("postern.v1."))
  .flatMap((service) =>
    service.methods.map((method) => ({
      path: `/${service.typeName}/${method.name}`,
      service: service.typeName,
      name: method.name,
      streaming: method.methodKind,
      scopes: descriptors().anyScope(`/${service.typeName}/${method.name}`),
    })),
  );

type Call = (typeof calls)[number];
type AnyClient = Record<string, (...args: unknown[]) => { on(event: string, then: (value: never) => void): void }>;

describe("every call", () => {
  let server: TestServer;
  let tokens: Record<string, string>;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
    const pem = await readFile(join(server.directory, "keys", "development-issuer.pem"), "utf8");
    const key = await importPKCS8(pem, "EdDSA");
    const sign = (claims: object, audience: string, issuer: string, expires: number) =>
      new SignJWT({ ...claims })
        .setProtectedHeader({ alg: "EdDSA" })
        .setSubject("owner")
        .setIssuer(issuer)
        .setAudience(audience)
        .setExpirationTime(Math.floor(Date.now() / 1000) + expires)
        .sign(key);
    const all = { scope: "read write run admin execution serve" };
    const [header, , signature] = server.owner.split(".");
    const forged = Buffer.from(JSON.stringify({ ...all, sub: "owner", aud: DEVELOPMENT_AUDIENCE })).toString(
      "base64url",
    );
    tokens = {
      "no token": "",
      "a token that is none": "not-a-token",
      "an expired token": await sign(all, DEVELOPMENT_AUDIENCE, DEVELOPMENT_ISSUER, -60),
      "a token for another audience": await sign(all, "somebody-else", DEVELOPMENT_ISSUER, 600),
      "a token of another issuer": await sign(all, DEVELOPMENT_AUDIENCE, "urn:elsewhere", 600),
      "a token the user signed as an executor": await sign(
        { scope: "execution", exe: "0", att: 1, epo: "1" },
        "postern-executor",
        "postern",
        600,
      ),
      "a token with a changed claim": `${header}.${forged}.${signature}`,
      "an unsigned token": `${Buffer.from('{"alg":"none"}').toString("base64url")}.${forged}.`,
    };
  });
  after(() => server.stop());

  /** The error a call ends with; undefined when it ends well. Streams are opened and nothing is sent on them. */
  function outcome(call: Call, token: string, request: object = {}): Promise<ServiceError | undefined> {
    const definition = descriptors().packageDefinition()[call.service];
    const [name] = call.service.split(".").slice(-1);
    const loaded = loadPackageDefinition({ [name!]: definition! }) as unknown as Record<
      string,
      new (
        address: string,
        credentials: unknown,
      ) => AnyClient & { close(): void }
    >;
    const client = new loaded[name!]!(server.address, credentials.createInsecure());
    const metadata = new Metadata();
    if (token) metadata.set("authorization", `Bearer ${token}`);
    return new Promise<ServiceError | undefined>((resolve) => {
      const method = client[call.name]!.bind(client);
      const done = (error: unknown) => resolve((error as ServiceError | null) ?? undefined);
      if (call.streaming === "unary") method(request, metadata, done);
      else if (call.streaming === "client_streaming") method(metadata, done);
      else {
        const stream = call.streaming === "server_streaming" ? method(request, metadata) : method(metadata);
        stream.on("data", () => {});
        stream.on("error", done);
        stream.on("end", () => resolve(undefined));
      }
    }).finally(() => client.close());
  }

  const guarded = calls.filter((call) => !call.scopes.includes(Scope.SCOPE_NONE));

  it("declares its scopes", () => {
    expect(calls.length).to.be.greaterThan(30);
    expect(calls.filter((call) => call.scopes.length === 0)).to.deep.equal([]);
  });

  for (const call of guarded) {
    it(`${call.path} refuses tokens that are missing, expired, foreign or forged`, async () => {
      for (const [kind, token] of Object.entries(tokens)) {
        const error = await outcome(call, token);
        expect(error?.code, `${kind}: ${error?.details}`).to.equal(status.UNAUTHENTICATED);
        if (token) expect(error!.details, kind).not.to.contain(token);
      }
    });

    it(`${call.path} refuses a token without its scope`, async () => {
      const held = ["read", "write", "run", "admin"].filter(
        (scope) => !call.scopes.includes(Scope[`SCOPE_${scope.toUpperCase()}` as keyof typeof Scope]),
      );
      const error = await outcome(call, await server.userToken("owner", held));
      expect(error?.code, error?.details).to.equal(status.PERMISSION_DENIED);
    });
  }

  /** What an executor would rightly ask of its own execution. */
  const ownRequests: Record<string, (execution_id: string) => object> = {
    "/postern.v1.ExecutionService/GetExecution": (execution_id) => ({ execution_id }),
    "/postern.v1.ExecutionService/UpdateExecution": (execution_id) => ({
      execution_id,
      state: "EXECUTION_STATE_RUNNING",
    }),
    "/postern.v1.ExecutionService/CompleteExecution": (execution_id) => ({
      manifest: { execution_id, attempt: 1, state: "EXECUTION_STATE_KILLED" },
    }),
    "/postern.v1.ExecutionService/GetOperatorStatistics": (execution_id) => ({ execution_id }),
    "/postern.v1.PortRegistry/RegisterPorts": (execution_id) => ({ execution_id }),
    "/postern.v1.PortRegistry/RegisterConsoles": (execution_id) => ({ execution_id }),
    "/postern.v1.PortRegistry/ResolvePorts": (execution_id) => ({ execution_id }),
    "/postern.v1.PortRegistry/ListPorts": (execution_id) => ({ execution_id }),
    "/postern.v1.PortRegistry/ClearExecution": (execution_id) => ({ execution_id }),
    "/postern.v1.CacheService/LookupPlan": (execution_id) => ({ execution_id }),
    "/postern.v1.CacheService/WatchKeys": (execution_id) => ({ execution_id, global_port_ids: [outputPort("order")] }),
    "/postern.v1.CacheService/ExtendReservations": (execution_id) => ({ execution_id }),
    "/postern.v1.CacheService/ReleaseReservations": (execution_id) => ({ execution_id }),
    "/postern.v1.CacheService/CommitPorts": (execution_id) => ({ execution_id }),
  };

  for (const call of guarded.filter((one) => one.scopes.includes(Scope.SCOPE_EXECUTION) && one.name !== "Attach")) {
    it(`${call.path} takes an execution's own token, and refuses another's, a stale epoch's, and one that has ended`, async () => {
      const request = ownRequests[call.path]!;
      const [own, other] = [await server.prepare(), await server.prepare()];
      const id = own.execution!.id;
      expect((await outcome(call, other.token, request(id)))?.code).to.equal(status.NOT_FOUND);
      await server.db.query("update execution set epoch = epoch + 1 where id = :id", { id });
      expect((await outcome(call, own.token, request(id)))?.code).to.equal(status.FAILED_PRECONDITION);
      await server.db.query("update execution set epoch = epoch - 1 where id = :id", { id });
      expect(await outcome(call, own.token, request(id))).to.equal(undefined);
      // The row alone, so that the epoch stays: what refuses now is the end.
      await server.db.query("update execution set state = 'FAILED', manifest_digest = null where id = :id", { id });
      const ended = await outcome(call, own.token, request(id));
      expect(ended?.code).to.be.oneOf([status.UNAUTHENTICATED, status.FAILED_PRECONDITION]);
    });
  }
});
