// What a scenario is: a promise an executor keeps, the faults that put it to the test, and what must be seen.
import type { FakeServerOptions } from "./fake-server.js";
import type { Mode, Stage } from "./stage.js";

export interface Scenario {
  /** As `--only` takes it. */
  name: string;
  /** What an executor does, as the end of a sentence that begins with "An executor". */
  promise: string;
  /** Without the core ones kept, events are lost or invented; the others are recommended. */
  level: "core" | "recommended";
  /** Undefined: both. */
  mode?: Mode;
  /** Events the executor is asked for. */
  lines?: number;
  /** Life of the execution token. */
  tokenSeconds?: number;
  /** False: a pooled executor is given nothing at the start. */
  assigned?: boolean;
  /** Fresh for each play, because faults count. */
  faults?(): FakeServerOptions;
  play(stage: Stage): Promise<void>;
}

/** Events an executor is asked for where the scenario does not say. */
export const LINES = 120;

/** The executor did not keep the promise; the message is the sentence people read. */
export class Unmet extends Error {
  override name = "Unmet";
}

export function demand(condition: boolean, otherwise: () => string): asserts condition {
  if (!condition) throw new Unmet(otherwise());
}
