// A server of our own contract, in this process: each method answers as the test says, everything else is refused.
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { HealthService } from "../../src/contract/grpc/health/v1/health.js";
import { AccessServiceService } from "../../src/contract/postern/v1/access.js";
import { CacheServiceService } from "../../src/contract/postern/v1/cache.js";
import { CompileServiceService } from "../../src/contract/postern/v1/compile.js";
import { DatasetServiceService } from "../../src/contract/postern/v1/dataset.js";
import { ExecutionServiceService } from "../../src/contract/postern/v1/execution.js";
import { PortRegistryService } from "../../src/contract/postern/v1/port_registry.js";
import { WorkflowServiceService } from "../../src/contract/postern/v1/workflow.js";
import { AppError } from "../../src/core/app-error.js";
import { incomingMessages } from "../../src/rpc/duplex.js";
import { statusOf } from "../../src/rpc/status.js";

// biome-ignore lint/suspicious/noExplicitAny: a handler takes and gives the messages of the method it is named after
type Handler = (request: any, token: string | undefined) => unknown;
/** By method name, for example `whoAmI`. Stream methods take an async iterable, or return one. */
export type Handlers = Record<string, Handler>;

const SERVICES: ServiceDefinition[] = [
  AccessServiceService,
  CacheServiceService,
  CompileServiceService,
  DatasetServiceService,
  ExecutionServiceService,
  PortRegistryService,
  WorkflowServiceService,
  HealthService,
];

export interface FakeServer {
  address: string;
  /** Names of the methods called, in order. */
  calls: string[];
  handlers: Handlers;
  stop(): void;
}

export async function startFakeServer(handlers: Handlers = {}): Promise<FakeServer> {
  const server = new Server();
  const calls: string[] = [];
  const fake: FakeServer = { address: "", calls, handlers, stop: () => server.forceShutdown() };
  for (const service of SERVICES) {
    const methods = Object.entries(service).map(([name, { requestStream, responseStream }]) => [
      name,
      // biome-ignore lint/suspicious/noExplicitAny: the four kinds of calls of grpc-js in one function
      async (call: any, done?: sendUnaryData<unknown>) => {
        calls.push(name);
        const fail = (error: unknown) => {
          const status = statusOf(error, () => {});
          if (responseStream) call.emit("error", status);
          else done!(status);
        };
        try {
          const handler = fake.handlers[name] ?? unexpected(name);
          const reply = await handler(
            requestStream ? incomingMessages(call, () => undefined) : call.request,
            tokenOf(call.metadata),
          );
          if (!responseStream) return done!(null, reply);
          for await (const message of reply as AsyncIterable<unknown>) call.write(message);
          call.end();
        } catch (error) {
          fail(error);
        }
      },
    ]);
    server.addService(service, Object.fromEntries(methods) as Record<string, UntypedHandleCall>);
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  fake.address = `127.0.0.1:${port}`;
  return fake;
}

function unexpected(name: string): Handler {
  return () => {
    throw new AppError("precondition", "UNEXPECTED", `The test does not expect ${name}.`);
  };
}

const tokenOf = (metadata: Metadata): string | undefined =>
  metadata.get("authorization")[0]?.toString().replace("Bearer ", "");
