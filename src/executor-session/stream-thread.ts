// The thread that holds the streams; started by streams.ts.
import { parentPort, workerData } from "node:worker_threads";
import type { FromStreams, StreamOptions, ToStreams } from "./messages.js";
import { startStreamHost } from "./stream-host.js";

const port = parentPort;
if (!port) throw new Error("This module is started as a thread of an executor.");

startStreamHost(workerData as StreamOptions, {
  post: (message: FromStreams, transfer) => port.postMessage(message, transfer),
  listen: (take: (message: ToStreams) => void) => void port.on("message", take),
});
