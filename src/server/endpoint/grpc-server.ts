// The gRPC server: what it mounts, in which order a call passes through it, and how it stops.
//
//   request log → authentication → handler adapter (rpc/handlers.ts) → service method
//
// G1  It does not start when a mounted call declares no scope or has no handler.
// G2  Beyond loopback it listens with TLS only, unless plain text is allowed expressly.
// G3  `drain` answers calls under way for as long as it is given, then ends the rest with UNAVAILABLE, DRAINING.
import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type ChannelOptions, Server, ServerCredentials, type ServiceDefinition, setLogger } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { HealthService } from "../../contract/grpc/health/v1/health.js";
import { ServerReflectionService } from "../../contract/grpc/reflection/v1/reflection.js";
import { ServerReflectionService as ServerReflectionAlphaService } from "../../contract/grpc/reflection/v1alpha/reflection.js";
import { AppError, invalid } from "../../core/app-error.js";
import type { Logger } from "../../process/log.js";
import { type Descriptors, descriptors as ownDescriptors } from "../../rpc/descriptors.js";
import { type CallSurroundings, implementation, type ServiceMethods } from "../../rpc/handlers.js";
import { Unreadable } from "../../rpc/unreadable.js";
import { authenticateAgain, authentication, callerOf, type Demand, demandOf } from "../access/auth.js";
import type { CallContext } from "../access/caller.js";
import type { VerifyToken } from "../access/token-verification.js";
import { formatAddress, isLoopback, parseListenAddress } from "./listen-address.js";
import { reflectionService } from "./reflection-service.js";
import { requestLog } from "./request-log.js";

/** A generated service definition with the methods that implement it. */
export interface MountedService {
  definition: ServiceDefinition;
  methods: object;
}

/** Pairs a definition with its methods; `mount<CompileServiceServer>(CompileServiceService, compileService(deps))`. */
export function mount<ServiceServer>(
  definition: ServiceDefinition,
  methods: ServiceMethods<ServiceServer, CallContext>,
): MountedService {
  return { definition, methods };
}

export interface GrpcServerOptions {
  services: readonly MountedService[];
  verifyToken: VerifyToken;
  log: Logger;
  /** Undefined: in the clear. With `clientCaFile` clients must show a certificate. */
  tls?: { certFile: string; keyFile: string; clientCaFile?: string };
  /** Listen beyond loopback without TLS. Default false. */
  allowPlaintext?: boolean;
  /** Largest request in bytes. Default 4 MiB. */
  maxMessageBytes?: number;
  /** Default: those of this release. */
  descriptors?: Descriptors;
}

export interface GrpcServer {
  /** Listens on `host:port` and returns the address it has; port 0 lets the system choose. */
  listen(address: string): Promise<{ address: string; port: number }>;
  /** Aborts when draining begins: streams that have something to say before they end say it now. */
  draining: AbortSignal;
  /** Takes no new calls, waits for those under way, ends the rest after `graceMs`. Repeating it waits for the first. */
  drain(graceMs: number): Promise<void>;
}

/** A proxy may put every executor and watcher of a site on one connection; more than that is no use of this server. */
const STREAMS_PER_CONNECTION = 10_000;

/** How long ended calls get to write out their last bytes. */
const flushMs = 500;

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { services, log, descriptors = ownDescriptors() } = options;
  const draining = new AbortController();
  const stopped = new AbortController();
  setMaxListeners(0, draining.signal, stopped.signal); // as many as there are calls
  setLogger(grpcLogger(log));
  const names = services.map(({ definition }) => serviceName(definition));
  const open = [HealthService, ServerReflectionService, ServerReflectionAlphaService];
  const demands = demandsOf(services, descriptors);
  const isOurs = new Set(demands.keys());
  for (const definition of open) for (const { path } of Object.values(definition)) demands.set(path, "nothing");

  const calls = countCalls((path) => isOurs.has(path));
  const onFault = (error: unknown, path: string) => log.error({ err: error, method: path }, "a call failed");
  const server = new Server({
    ...channelOptions(options),
    // The first is nearest to the wire.
    interceptors: [
      requestLog({ log, onBegin: calls.begin, onEnd: calls.end }),
      authentication({ verifyToken: options.verifyToken, demands, onFault }),
    ],
  });

  const logs = new Map<string, Logger>();
  const logOf = (path: string): Logger => {
    const known = logs.get(path) ?? log.child({ method: path });
    logs.set(path, known);
    return known;
  };
  const surroundings: CallSurroundings<CallContext> = {
    contextOf: (call) => ({
      caller: callerOf(call.metadata),
      authenticateAgain: () => authenticateAgain(options.verifyToken, call.metadata),
      get signal() {
        return call.signal;
      },
      log: logOf(call.path),
    }),
    onFault: (error, { path }) => onFault(error, path),
    stopped: stopped.signal,
  };
  const add = (definition: ServiceDefinition, methods: object) =>
    server.addService(
      reporting(definition, onFault),
      implementation(definition, methods as ServiceMethods<unknown, CallContext>, surroundings),
    );
  for (const { definition, methods } of services) add(definition, methods);
  const reflection = reflectionService({ descriptors, services: [...names, ...open.map(serviceName)] });
  add(ServerReflectionService, reflection);
  add(ServerReflectionAlphaService, reflection);
  const health = new HealthImplementation(Object.fromEntries(["", ...names].map((name) => [name, "SERVING"])));
  health.addToServer(server);

  let drained: Promise<void> | undefined;
  async function drain(graceMs: number): Promise<void> {
    for (const name of ["", ...names]) health.setStatus(name, "NOT_SERVING");
    draining.abort(drainingError());
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    await within(graceMs, calls.none());
    stopped.abort(drainingError());
    await within(
      flushMs,
      calls.none().then(() => closed),
    );
    server.forceShutdown();
    await closed;
  }

  return {
    draining: draining.signal,
    drain: (graceMs) => {
      drained ??= drain(graceMs);
      return drained;
    },
    async listen(address) {
      const where = parseListenAddress(address);
      if (!options.tls && !options.allowPlaintext && !isLoopback(where.host))
        throw invalid(
          `Refusing to listen on ${address} without TLS: set POSTERN_TLS_CERT_FILE and POSTERN_TLS_KEY_FILE, ` +
            "or POSTERN_ALLOW_PLAINTEXT=1 when a proxy in front ends TLS.",
        );
      const port = await bind(server, formatAddress(where), credentialsOf(options.tls));
      return { address: formatAddress({ ...where, port }), port };
    },
  };
}

/** grpc-js would write lines of its own to standard error; what matters of them also reaches us as an error. */
function grpcLogger(log: Logger): Partial<Console> {
  const say = (...words: unknown[]) => log.debug({ from: "grpc-js" }, words.join(" "));
  return { error: say, info: say, debug: say };
}

const drainingError = () =>
  new AppError("unavailable", "DRAINING", "This server is stopping: connect again, another will answer.");

function serviceName(definition: ServiceDefinition): string {
  return Object.values(definition)[0]?.path.split("/")[1] ?? "";
}

/** What each call demands; refuses a call without a scope (G1). */
function demandsOf(services: readonly MountedService[], descriptors: Descriptors): Map<string, Demand> {
  const demands = new Map<string, Demand>();
  for (const { definition } of services)
    for (const { path } of Object.values(definition)) {
      const demand = demandOf(descriptors.anyScope(path));
      if (!demand) throw new Error(`${path} declares no scope: give it the option any_scope in its proto file.`);
      demands.set(path, demand);
    }
  return demands;
}

/**
 * grpc-js answers a reply it cannot serialise with INTERNAL and tells nobody; this tells. And it calls a request that
 * cannot be read INTERNAL, though the fault is the caller's: such a request reaches the handler as Unreadable.
 */
function reporting(definition: ServiceDefinition, onFault: (error: unknown, path: string) => void): ServiceDefinition {
  const told = Object.entries(definition).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        return method.requestDeserialize(bytes);
      } catch (error) {
        return new Unreadable(error);
      }
    };
    const responseSerialize = (reply: unknown): Buffer => {
      if (Buffer.isBuffer(reply)) return reply; // Encoded
      try {
        return method.responseSerialize(reply);
      } catch (error) {
        onFault(error, method.path);
        throw error;
      }
    };
    return [name, { ...method, requestDeserialize, responseSerialize }];
  });
  return Object.fromEntries(told);
}

function countCalls(counts: (path: string) => boolean) {
  let running = 0;
  let idle = () => {};
  return {
    begin: (path: string) => {
      if (counts(path)) running++;
    },
    end: (path: string) => {
      if (counts(path) && --running === 0) idle();
    },
    /** Resolves when no call is under way. */
    none: () =>
      new Promise<void>((resolve) => {
        idle = resolve;
        if (running === 0) resolve();
      }),
  };
}

/** Waits for `event`, but no longer than `ms`. */
async function within(ms: number, event: Promise<void>): Promise<void> {
  const timeout = new AbortController();
  const late = delay(ms, undefined, { signal: timeout.signal }).catch(() => {}); // the event came first
  await Promise.race([event, late]);
  timeout.abort();
}

function channelOptions({ maxMessageBytes = 4 * 1024 * 1024 }: GrpcServerOptions): ChannelOptions {
  return {
    "grpc.max_receive_message_length": maxMessageBytes,
    "grpc.max_concurrent_streams": STREAMS_PER_CONNECTION,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
  };
}

function credentialsOf(tls: GrpcServerOptions["tls"]): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure();
  const pair = { cert_chain: readFileSync(tls.certFile), private_key: readFileSync(tls.keyFile) };
  const clientCa = tls.clientCaFile ? readFileSync(tls.clientCaFile) : null;
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (!error) return resolve(port);
      reject(
        new AppError(
          "unavailable",
          "UNAVAILABLE",
          `Cannot listen on ${address} (${error.message}): choose another with POSTERN_LISTEN (with postern dev: --listen).`,
          { cause: error },
        ),
      );
    });
  });
}
