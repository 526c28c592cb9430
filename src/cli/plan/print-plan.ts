// A plan and its schedule as tables.
import { print, printTable } from "../output.js";
import type { Terminal } from "../terminal.js";
import { bytes, count, counted, paintFor } from "../text.js";
import { type PlanDocument, type PlannedLink, type PlannedOperator, storedLinks } from "./plan-document.js";

/** One more column of the table of operators. */
export interface OperatorColumn {
  title: string;
  cell(operator: PlannedOperator): string;
}

export function printPlan(plan: PlanDocument, column: OperatorColumn, terminal: Terminal): void {
  const { operators, regions } = plan;
  printTitle(terminal, `${counted(operators.length, "operator")} in ${counted(regions.length, "region")}`);
  const regionOf = new Map(regions.flatMap((region) => region.operators.map((id) => [id, region] as const)));
  printTable(terminal, {
    head: ["OPERATOR", "TYPE", "REGION", "LEVEL", column.title],
    right: [false, false, true, true],
    rows: operators.map((operator) => {
      const region = regionOf.get(operator.id);
      return [
        operator.id,
        operator.type,
        region ? `${region.id}${region.cached ? " (cached)" : ""}` : "",
        `${region?.level ?? ""}`,
        column.cell(operator),
      ];
    }),
  });
  const stored = storedLinks(plan);
  if (stored.length > 0) {
    printTitle(terminal, `${counted(stored.length, "link")} through storage`);
    const chosen = new Set(plan.materialized);
    printTable(terminal, {
      head: ["FROM", "TO", "CHOSEN", "WHY"],
      rows: stored.map((link) => [...linkEnds(link), chosen.has(link.id) ? "yes" : "no", link.why]),
    });
  }
  print(terminal, `\n${costLine(plan)}`);
}

/** "cost 12 ports, optimal, 34 states, 2 ms". */
export function costLine({ cost, costModel, mode, optimal, explored, millis }: PlanDocument): string {
  const quality = optimal ? "optimal" : mode === "exact" ? "not proven optimal: the time was up" : mode;
  return `cost ${costText(cost, costModel)}, ${quality}, ${counted(explored, "state")}, ${millisText(millis)}`;
}

function costText(cost: number, model: PlanDocument["costModel"]): string {
  switch (model) {
    case "ports":
      return counted(cost, "port");
    case "seconds":
      return `${cost.toFixed(3)} s`;
    case "bytes":
      return bytes(cost);
  }
}

const millisText = (millis: number): string => `${millis < 10 ? millis.toFixed(1) : count(Math.round(millis))} ms`;

export function printTitle(terminal: Terminal, text: string): void {
  print(terminal, `\n${paintFor(terminal.out, terminal.env)("bold", text)}`);
}

const portText = (operator: string, port: number): string => (port === 0 ? operator : `${operator}:${port}`);

export const linkEnds = ({ from, fromPort, to, toPort }: PlannedLink): [from: string, to: string] => [
  portText(from, fromPort),
  portText(to, toPort),
];
