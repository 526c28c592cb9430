// What runs in a binding child: a binding database behind a pipe. It says when it is ready, then answers one request
// after the other; after an error that is no finding it ends, because nobody knows what such an error leaves behind.
import type { BindRequest, BindResult } from "../../core/schema-binding.js";
import { openBindingDatabase } from "./binding-database.js";
import { bindOperator } from "./operator-binding.js";

/** What a binding child says. */
export type BindingMessage =
  | { kind: "ready" }
  | { kind: "answer"; result: BindResult }
  /** The stack of an error that is no finding. */
  | { kind: "failure"; stack: string };

// Not process.exit(): that waits for the thread that binds.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
// A signal to the whole process group asks the server to stop, and calls under way are still to be answered.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});

const say = (message: BindingMessage, then: () => void = () => {}): void => void process.send!(message, then);

const database = await openBindingDatabase();
process.on("message", (request: BindRequest) => void answer(request));
say({ kind: "ready" });

async function answer(request: BindRequest): Promise<void> {
  try {
    say({ kind: "answer", result: await database.use((connection) => bindOperator(connection, request)) });
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say({ kind: "failure", stack }, () => process.exit(1));
  }
}
