// Clients that list executions in a loop, as dashboards do.
import { credentials } from "@grpc/grpc-js";
import { ExecutionServiceClient } from "../../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../../src/rpc/channel.js";

/** Lists a project's executions for `seconds`, in `clients` loops; returns how many answers came. */
export async function listUntil(load: {
  address: string;
  token: string;
  projectId: string;
  clients: number;
  seconds: number;
}): Promise<number> {
  const until = performance.now() + load.seconds * 1_000;
  const request = { projectId: load.projectId, workflowId: "", states: [], pageSize: 0, pageToken: "" };
  let answers = 0;
  const loop = async () => {
    const options = { "grpc.use_local_subchannel_pool": 1 };
    const client = new ExecutionServiceClient(load.address, credentials.createInsecure(), options);
    for (; performance.now() < until; answers++) await callUnary(client, "listExecutions", request, load);
    client.close();
  };
  await Promise.all(Array.from({ length: load.clients }, loop));
  return answers;
}
