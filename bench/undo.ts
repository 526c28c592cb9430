// What has been begun and must be taken back, last first, however far it came.

export interface Undo {
  /** Adds a step; once everything is being taken back it is run at once. */
  add(step: () => Promise<unknown>): Promise<void>;
  /** Takes everything back; calling it again waits for the first. */
  run(): Promise<void>;
}

export function createUndo(): Undo {
  const steps: (() => Promise<unknown>)[] = [];
  let running: Promise<void> | undefined;
  const runAll = async () => {
    for (let step = steps.pop(); step; step = steps.pop()) await step();
  };
  return {
    async add(step) {
      if (running) await step();
      else steps.push(step);
    },
    run: () => {
      running ??= runAll();
      return running;
    },
  };
}
