// Which scenarios are played, how many at once, and what is said of each.
import { invalid } from "../core/app-error.js";
import { createGate } from "../process/gate.js";
import { CORE_SCENARIOS } from "./core-scenarios.js";
import { POOL_SCENARIOS } from "./pool-scenarios.js";
import { RECOMMENDED_SCENARIOS } from "./recommended-scenarios.js";
import { type Scenario, Unmet } from "./scenario.js";
import { type Mode, playOnStage, type StageOptions } from "./stage.js";

const SCENARIOS: Scenario[] = [...CORE_SCENARIOS, ...RECOMMENDED_SCENARIOS, ...POOL_SCENARIOS];

export interface Verdict {
  name: string;
  level: Scenario["level"];
  passed: boolean;
  /** Why not, as a sentence; empty when it passed. */
  reason: string;
  ms: number;
}

export interface Selection {
  mode: Mode;
  /** Leave out what is only recommended. */
  core?: boolean;
  /** Names; empty for all. */
  only?: string[];
}

/** The scenarios in the order they are played. */
export function selectScenarios({ mode, core = false, only = [] }: Selection): Scenario[] {
  const known = SCENARIOS.map(({ name }) => name);
  const unknown = only.find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`There is no scenario "${unknown}": it must be one of ${known.join(", ")}.`);
  const chosen = SCENARIOS.filter(
    (one) =>
      (one.mode === undefined || one.mode === mode) &&
      (!core || one.level === "core") &&
      (only.length === 0 || only.includes(one.name)),
  );
  if (chosen.length > 0) return chosen;
  throw invalid(
    `No scenario is left: ${only.join(", ")} ${only.length === 1 ? "is" : "are"} not played with these options.`,
  );
}

/**
 * Plays up to `jobs` scenarios side by side and yields the verdicts in order, each as soon as those before it are there.
 * Throws the signal's reason when the user has had enough, after everything was stopped.
 */
export async function* runConformance(
  scenarios: Scenario[],
  options: StageOptions & { jobs: number },
): AsyncGenerator<Verdict> {
  const enter = createGate(options.jobs);
  const verdicts = scenarios.map((scenario) => enter(() => judge(scenario, options)));
  try {
    // The first failure is told by the loop; the others are its consequences.
    for (const verdict of verdicts) verdict.catch(() => {});
    for (const verdict of verdicts) yield await verdict;
  } finally {
    await Promise.allSettled(verdicts);
  }
}

async function judge(scenario: Scenario, options: StageOptions): Promise<Verdict> {
  options.signal.throwIfAborted();
  const from = performance.now();
  const reason = await reasonAgainst(scenario, options);
  const { name, level } = scenario;
  return { name, level, passed: reason === "", reason, ms: Math.round(performance.now() - from) };
}

async function reasonAgainst(scenario: Scenario, options: StageOptions): Promise<string> {
  try {
    await playOnStage(scenario, options);
    return "";
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof Unmet) return error.message;
    throw error;
  }
}
