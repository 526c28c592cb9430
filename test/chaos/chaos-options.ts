// What a chaos run is asked to do, from the words of the command line.
import { AppError } from "../../src/core/app-error.js";
import { FAULT_KINDS, type FaultKind } from "./faults.js";

export const SABOTAGES = ["ack-early", "no-fence", "max-ack", "forget-tail", "double-apply", "skip-cursor"] as const;
export type Sabotage = (typeof SABOTAGES)[number];

export interface ChaosOptions {
  seed: string;
  /** How many faults. */
  kills: number;
  replicas: number;
  executors: number;
  /** Watchers of each execution. */
  watchers: number;
  sabotage: Sabotage | undefined;
  /** The build to run; `dist` of this checkout unless named. */
  build: string;
  /** Undefined: every kind of fault. */
  faults: FaultKind[] | undefined;
  /** Keeps the directory even when nothing was found. */
  keep: boolean;
}

export const CHAOS_DEFAULTS: ChaosOptions = {
  seed: "1",
  kills: 50,
  replicas: 2,
  executors: 3,
  watchers: 2,
  sabotage: undefined,
  build: "dist",
  faults: undefined,
  keep: false,
};

export const CHAOS_USAGE = `make chaos ARGS="--seed S --kills N [--replicas R --executors E --watchers W]
                [--sabotage ${SABOTAGES.join("|")}] [--faults KIND,KIND] [--build DIR] [--keep]"`;

/** Reads the words after the command; throws an AppError that shows the usage. */
export function chaosOptions(words: string[]): ChaosOptions {
  const options = { ...CHAOS_DEFAULTS };
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const value = () => rest.shift() ?? fail(`${word} needs a value`);
    const count = (least: number) => {
      const text = value();
      return /^\d+$/.test(text) && Number(text) >= least ? Number(text) : fail(`${word} ${text}: at least ${least}`);
    };
    if (word === "--seed") options.seed = value();
    else if (word === "--kills") options.kills = count(0);
    else if (word === "--replicas") options.replicas = count(2);
    else if (word === "--executors") options.executors = count(1);
    else if (word === "--watchers") options.watchers = count(1);
    else if (word === "--build") options.build = value();
    else if (word === "--faults") options.faults = value().split(",").map(faultNamed);
    else if (word === "--keep") options.keep = true;
    else if (word === "--sabotage") options.sabotage = sabotageNamed(value());
    else fail(`${word} is not known`);
  }
  return options;
}

function sabotageNamed(name: string): Sabotage {
  return SABOTAGES.find((one) => one === name) ?? fail(`there is no sabotage ${name}`);
}

function faultNamed(name: string): FaultKind {
  return FAULT_KINDS.find((one) => one === name) ?? fail(`there is no fault ${name}, only ${FAULT_KINDS.join(", ")}`);
}

function fail(why: string): never {
  throw new AppError("invalid", "INVALID_REQUEST", `${why}. Usage:\n${CHAOS_USAGE}`);
}
