// A thread that breaks at the first word it hears.
import { parentPort } from "node:worker_threads";

parentPort.on("message", () => {
  throw new Error("made to break");
});
