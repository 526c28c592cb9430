// The product's gRPC server around a method that does nothing, twice: open to everybody, and behind a scope. What lies
// between the two is the cost of authentication.
import type { handleUnaryCall } from "@grpc/grpc-js";
import { Scope } from "../../src/contract/postern/v1/options.js";
import { DEVELOPMENT_AUDIENCE, DEVELOPMENT_ISSUER } from "../../src/dev/development-issuer.js";
import { createLogger } from "../../src/process/log.js";
import { exitWhenParentDies } from "../../src/process/parent-pipe.js";
import { descriptors } from "../../src/rpc/descriptors.js";
import { providerKeys } from "../../src/server/access/token-keys.js";
import { createTokenVerifier } from "../../src/server/access/token-verification.js";
import { createGrpcServer, mount } from "../../src/server/endpoint/grpc-server.js";

export const OPEN_PATH = "/bench.Guarded/Open";
export const SCOPED_PATH = "/bench.Guarded/Scoped";

interface GuardedServer {
  open: handleUnaryCall<Buffer, Buffer>;
  scoped: handleUnaryCall<Buffer, Buffer>;
}

const identity = (bytes: Buffer) => bytes;
const method = (path: string) => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

/** Serves until SIGTERM; takes user tokens whose keys lie at `jwksUrl`. */
export async function main(jwksUrl: string, replyBytes: number): Promise<void> {
  exitWhenParentDies();
  const reply = Buffer.alloc(replyBytes, 1);
  const scopes: Record<string, Scope[]> = { [OPEN_PATH]: [Scope.SCOPE_NONE], [SCOPED_PATH]: [Scope.SCOPE_READ] };
  const server = createGrpcServer({
    services: [
      mount<GuardedServer>(
        { open: method(OPEN_PATH), scoped: method(SCOPED_PATH) },
        { open: async () => reply, scoped: async () => reply },
      ),
    ],
    verifyToken: createTokenVerifier({
      issuer: DEVELOPMENT_ISSUER,
      audience: DEVELOPMENT_AUDIENCE,
      providerKeys: providerKeys(new URL(jwksUrl)),
      ownKeys: { keys: [] },
    }),
    log: createLogger("auth-server", "info"),
    descriptors: { ...descriptors(), anyScope: (path) => scopes[path] ?? [] },
  });
  const { address } = await server.listen("127.0.0.1:0");
  process.once("SIGTERM", () => void server.drain(0));
  process.stdout.write(`${JSON.stringify({ ready: true, address })}\n`);
}
