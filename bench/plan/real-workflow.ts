// A real workflow as the scheduler sees it: one of the evaluation of "Materialisation choices in pipelined workflow
// regions" (doi 10.1145/3698832), which looks for fraudulent mail domains. Joins are build and probe, the aggregate has
// a local and a global half.
import type { SchedulingProblem } from "../../src/core/scheduling/scheduling-problem.js";

/** "from to", with the input port where it is not 0, and "!" where the link must be materialised. */
const LINKS = `
  scan split
  split local
  local global
  global domains !
  domains frequent
  domains long
  frequent sort
  sort limit !
  limit top
  top similar !
  frequent similar 1
  similar distance
  distance near
  top build-1
  build-1 probe-1 !
  near probe-1 1
  probe-1 build-2
  build-2 probe-2 !
  long spam
  spam label
  label probe-2 1
  probe-2 text
  text fraud
  fraud columns
  split build-3
  build-3 probe-3 !
  columns probe-3 1`;

/** Seconds as such operators take them: models are slow, functions slower than what is built in. */
const SLOW: Record<string, number> = {
  spam: 41.5,
  fraud: 38.2,
  similar: 12.4,
  distance: 9.1,
  split: 4.3,
  domains: 2.2,
};

export function realWorkflow(): SchedulingProblem {
  const links = LINKS.trim()
    .split("\n")
    .map((line) => {
      const [from = "", to = "", ...marks] = line.trim().split(" ");
      const must = marks.includes("!");
      const toPort = marks.includes("1") ? 1 : 0;
      const why = must ? "Its source blocks, or its target waits for it." : "";
      return { id: `${from}>${to}`, from, fromPort: 0, to, toPort, mustMaterialize: must, why };
    });
  const operators = [...new Set(links.flatMap(({ from, to }) => [from, to]))].map((id) => ({
    id,
    seconds: SLOW[id] ?? 0.8,
  }));
  const bytes = (operator: string) => (operator.length % 5) * 40_000 + 12_000;
  return { operators, links, viewed: [{ operator: "probe-3", port: 0 }], bytes };
}
