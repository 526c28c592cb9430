// What an executor said, written down by itself before it said it: one file per attempt and process, appended without
// fsync, because it must survive kill -9 of the executor and not the loss of the machine.
//
// A line is `<n> <checksum>` for an event, or `!<json>` for what happened to the attempt.
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { SaidEvent } from "./said-event.js";

/** What happened to an attempt; times in milliseconds since the epoch. */
export type JournalNote =
  | { kind: "begun"; executionId: string; attempt: number; epoch: string; executorId: string; pid: number; at: number }
  /** Everything is said; the manifest is on its way. */
  | { kind: "finished"; at: number }
  /** The work was stopped before. */
  | { kind: "stopped"; reason: string; at: number };

export interface JournalWriter {
  said(event: SaidEvent): void;
  note(note: JournalNote): void;
  close(): void;
}

export interface Journal {
  begun: Extract<JournalNote, { kind: "begun" }>;
  /** `events[n - 1]` is the n-th. */
  events: SaidEvent[];
  end: JournalNote | undefined;
}

export function openJournal(directory: string, begun: Journal["begun"]): JournalWriter {
  const { executionId, attempt, executorId, pid, epoch } = begun;
  const file = openSync(join(directory, `${executionId}-${attempt}-${epoch}-${executorId}-${pid}.journal`), "a");
  const note = (what: JournalNote) => void writeSync(file, `!${JSON.stringify(what)}\n`);
  note(begun);
  return {
    said: ({ n, checksum }) => void writeSync(file, `${n} ${checksum}\n`),
    note,
    close: () => closeSync(file),
  };
}

/** Every journal of a directory. */
export function readJournals(directory: string): Journal[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".journal"))
    .map((name) => readJournal(readFileSync(join(directory, name), "utf8")))
    .filter((journal) => journal !== undefined);
}

/** Undefined for a process that was killed before it had written its first line. */
export function readJournal(text: string): Journal | undefined {
  let begun: Journal["begun"] | undefined;
  let end: JournalNote | undefined;
  const events: SaidEvent[] = [];
  // What follows the last line end was being written when the process was killed, and had not been said.
  for (const line of text.split("\n").slice(0, -1)) {
    if (line.startsWith("!")) {
      const note = JSON.parse(line.slice(1)) as JournalNote;
      if (note.kind === "begun") begun = note;
      else end = note;
      continue;
    }
    const [n, checksum] = line.split(" ").map(Number);
    events.push({ n: n!, checksum: checksum! });
  }
  return begun && { begun, events, end };
}
