// What the stack asks of its own server, through the API like anybody else: a project, a computing unit, serve tokens.
import { AccessServiceClient } from "../contract/postern/v1/access.js";
import { AppError } from "../core/app-error.js";
import { callUnary, channelCredentials, UNARY_CHANNEL_OPTIONS } from "../rpc/channel.js";

export interface StackAccess {
  /** Makes project and computing unit unless they exist. */
  createWorkplace(): Promise<void>;
  /** A token by which an executor may serve the computing unit. */
  createServeToken(): Promise<string>;
  close(): void;
}

const DEADLINE_MS = 15_000;

/** The stack's own view of its server's AccessService. */
export function stackAccess(options: {
  address: string;
  token: () => Promise<string>;
  project: string;
  computingUnit: string;
  signal: AbortSignal;
}): StackAccess {
  const { project: projectId, computingUnit: computingUnitId, signal } = options;
  const address = { address: options.address };
  const client = new AccessServiceClient(options.address, channelCredentials(address), UNARY_CHANNEL_OPTIONS);
  const how = async () => ({ token: await options.token(), deadlineMs: DEADLINE_MS, signal });
  return {
    async createWorkplace() {
      const project = { requestId: "", projectId, name: "" };
      await callUnary(client, "createProject", project, await how()).catch((error) => {
        if (error instanceof AppError && error.code === "conflict") return; // made by an earlier start
        throw error;
      });
      await callUnary(client, "putComputingUnit", { projectId, computingUnitId, name: "" }, await how());
    },
    async createServeToken() {
      const reply = await callUnary(client, "createServeToken", { projectId, computingUnitId }, await how());
      return reply.token;
    },
    close: () => client.close(),
  };
}
