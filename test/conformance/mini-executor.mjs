// An executor of one execution that runs no plan: it reports lines, and keeps every core promise. Its first argument
// names a promise to break, so that the scenarios can be seen to say no.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const broken = process.argv[2] ?? "nothing";
if (broken === "start") throw new Error("It cannot start.");
if (broken === "connection") await delay(60_000);

const protos = fileURLToPath(new URL("../../proto", import.meta.url));
const contract = loadSync("postern/v1/execution.proto", {
  includeDirs: [protos],
  keepCase: true,
  defaults: true,
  longs: Number,
  oneofs: true,
});
const { ExecutionService } = grpc.loadPackageDefinition(contract).postern.v1;
const client = new ExecutionService(process.env.POSTERN_SERVER, grpc.credentials.createInsecure(), {
  "grpc.enable_retries": 0,
});
const spec = JSON.parse(readFileSync(process.env.POSTERN_SPEC_FILE, "utf8"));
const attempt = Number(spec.attempt);
let token = readFileSync(process.env.POSTERN_TOKEN_FILE, "utf8").trim();

// The outbox: its first event has the number `acknowledged + 1`.
let outbox = Array.from({ length: Number(process.env.POSTERN_CONFORMANCE_EVENTS) }, (_, i) => `line ${i + 1}`);
let acknowledged = 0;
let manifests = 0;

const BATCH = 8;
const FINAL = [grpc.status.FAILED_PRECONDITION, grpc.status.UNAUTHENTICATED, grpc.status.INVALID_ARGUMENT];

/** One stream; resolves with "done", or with the status it ended with. */
function attach() {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const stream = client.Attach(metadata);
  const say = (frame) => stream.write(frame);
  let next = acknowledged + 1;
  let credit = 0;
  let welcomed = false;
  let completed = false;
  let heartbeat;

  function pump() {
    const most = broken === "credit" ? Number.POSITIVE_INFINITY : credit;
    while (next <= most && next <= acknowledged + outbox.length) {
      const lines = outbox.slice(next - acknowledged - 1).slice(0, Math.min(BATCH, most - next + 1));
      const events = lines.map((text, i) => ({
        sequence: next + i,
        console_message: { operator_id: "print", level: "LEVEL_OUTPUT", text },
      }));
      next += events.length;
      say({ events: { events } });
    }
    if (welcomed && !completed && outbox.length === 0) {
      completed = true;
      manifests++;
      const log_uri = broken === "manifest" && manifests > 1 ? "file:///another" : "";
      const last_sequence = acknowledged;
      say({
        complete: {
          manifest: {
            execution_id: spec.executionId,
            attempt,
            state: "EXECUTION_STATE_COMPLETED",
            last_sequence,
            log_uri,
          },
        },
      });
    }
  }

  function release(upTo) {
    outbox = outbox.slice(upTo - acknowledged);
    acknowledged = upTo;
    next = Math.max(next, upTo + 1);
  }

  say({
    hello: {
      protocol_version: 1,
      execution_id: spec.executionId,
      attempt,
      executor_id: "mini",
      plan_digest: spec.planDigest,
    },
  });
  if (broken === "welcome") say({ events: { events: [{ sequence: 1, console_message: { text: "too early" } }] } });
  return new Promise((resolve) => {
    stream.on("data", ({ welcome, ack, nack, command, token_grant, complete_ack }) => {
      if (welcome) {
        welcomed = true;
        if (broken !== "resume") release(welcome.last_sequence);
        next = broken === "hole" ? next + BATCH : acknowledged + 1;
        if (broken === "heartbeat") release(welcome.last_sequence);
        else heartbeat = setInterval(() => say({ heartbeat: {} }), welcome.lease_ms / 3);
      }
      if (ack) release(ack.sequence);
      if (nack && broken !== "nack") next = nack.expected;
      if (command && broken !== "command")
        say({ command_ack: { command_id: command.command_id, refused: "not supported" } });
      if (token_grant && broken !== "token") token = token_grant.token;
      if (complete_ack) resolve("done");
      if (welcome || ack) credit = (welcome ?? ack).credit;
      if (welcome || ack || nack) pump();
    });
    stream.on("error", ({ code }) => resolve(code));
    stream.on("end", () => resolve(undefined));
  }).finally(() => {
    clearInterval(heartbeat);
    stream.cancel();
    // An executor that forgets its tail keeps only what it has never sent, and numbers that anew.
    if (broken === "tail") outbox = outbox.slice(next - acknowledged - 1);
  });
}

for (;;) {
  const end = await attach();
  if (end === "done" || broken === "reconnect") break;
  if (FINAL.includes(end) && broken !== "fence") break;
  await delay(50);
}
client.close();
