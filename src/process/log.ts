// Structured logs: one JSON object a line, to standard error, so that standard output stays free for results.

import type { Logger } from "pino";
import { destination, pino } from "pino";

export type { Logger };

/** A logger for one program. Tokens, passwords and keys are never passed to it; the redaction is a second net. */
export function createLogger(program: string, level = "info"): Logger {
  return pino(
    {
      name: program,
      level,
      base: { program, pid: process.pid },
      redact: {
        paths: ["token", "password", "*.token", "*.password", "authorization", "*.authorization"],
        censor: "[redacted]",
      },
    },
    destination({ dest: 2, sync: true }),
  );
}
