// The six ways to break the product that the kit must find, each as the places of compiled modules that make it so.
import type { Sabotage } from "../chaos-options.js";
import type { Patch } from "../sabotage.js";

const OUTBOX = "src/executor-session/outbox.js";
const GROUP = "src/server/executions/group-write.js";
const WRITER = "src/server/executions/stream-writer.js";

export const PATCHES: Record<Sabotage, Patch[]> = {
  // Acknowledges what was received, before it is committed.
  "ack-early": [
    {
      file: WRITER,
      find: "    get stored() {\n        return this.#stored;\n    }",
      replace: "    get stored() {\n        return this.#received;\n    }",
    },
    {
      file: "src/server/executions/executor-session.js",
      find: 'if (taken.kind === "duplicate")',
      replace: 'if (taken.kind !== "gap")',
    },
  ],

  // The head of the group's transaction asks neither for the attempt nor for the epoch nor for the newest stream.
  "no-fence": [
    {
      file: "src/server/repositories/stream-writes.js",
      find: "e.id = u.id and e.attempt = u.attempt and e.epoch = u.epoch and e.attachment = u.attachment",
      replace: "e.id = u.id",
    },
    {
      file: GROUP,
      find: "if (row.epoch !== step.epoch || row.attempt !== step.attempt)",
      replace: "if (false)",
    },
    { file: GROUP, find: "if (row.attachment !== step.attachment)", replace: "if (false)" },
  ],

  // Two connections commit side by side, and the highest number that either has committed is acknowledged.
  "max-ack": [
    { file: "src/server/executions/event-committer.js", replaceBy: "max-ack-event-committer.js" },
    {
      file: "src/server/main.js",
      find: "const committer = createEventCommitter({",
      replace: 'const committer = createEventCommitter({ connect: () => db.sessionConnection("postern-writer"),',
    },
    {
      file: WRITER,
      find: "    get stored() {\n        return this.#stored;\n    }",
      replace:
        "    acked = 0n;\n    get stored() {\n        return this.acked;\n    }\n" +
        "    acknowledge(last) {\n        if (last > this.acked) this.acked = last;\n" +
        "        if (!this.#over) this.#deps.listener.stored(this.acked);\n    }",
    },
    {
      file: WRITER,
      find: "        this.#stored = lastSequence;\n        this.#deps.listener.stored(lastSequence);\n",
      replace: "        this.#stored = lastSequence;\n",
    },
  ],

  // A reconnect drops what was not acknowledged, and numbers go on from the stored one.
  "forget-tail": [
    {
      file: OUTBOX,
      find: "this.#cursor = Number(lastStored) + 1;",
      replace:
        "this.#cursor = Number(lastStored) + 1;\n" +
        "        const sent = Math.min(this.#sentThrough - this.#acknowledged, this.#front.length);\n" +
        "        for (let i = 0; i < sent; i++) count(this.#held, this.#front.shift().bytes, -1);\n" +
        "        this.#lastSequence -= sent;\n" +
        "        this.#sentThrough = this.#acknowledged;",
    },
    // An event is encoded with its number when it is said; what follows the gap gets the number it is sent under.
    {
      file: OUTBOX,
      find: "batch.push(event.bytes);",
      replace:
        "const { events } = EventBatch.decode(event.bytes);\n            " +
        "batch.push(EventBatch.encode({ events: [{ ...events[0], sequence: BigInt(this.#cursor) }] }).finish());",
    },
    {
      file: OUTBOX,
      find: 'import { EventQueue } from "./event-queue.js";',
      replace:
        'import { EventBatch } from "../contract/postern/v1/execution.js";\nimport { EventQueue } from "./event-queue.js";',
    },
  ],

  // What was applied already is applied again under new numbers.
  "double-apply": [
    {
      file: "src/server/repositories/stream-writes.js",
      find: "and (u.count = 0 or (e.last_sequence = u.first - 1 and e.last_event_number = u.first_number - 1))",
      replace: "",
    },
    { file: GROUP, find: "if (lastNumber === undefined)", replace: "if (true)" },
    {
      file: GROUP,
      find: "if (row.lastSequence >= step.first && row.lastSequence <= last)",
      replace: "if (false)",
    },
    {
      file: GROUP,
      find: "if (step.count === 0 || row.lastSequence === step.first - 1n)",
      replace: "if (true)",
    },
  ],

  // A watcher that has fallen behind goes on with the newest event.
  "skip-cursor": [
    {
      file: "src/server/executions/event-feed.js",
      find: "page = await readPage(executionId, cursor, clientGone);",
      replace: "cursor = tail.last;\n                    continue;",
    },
  ],
};
