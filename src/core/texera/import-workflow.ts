// An exported Texera workflow as a plan of ours, with an account of what became of each operator.
//
// I3  Every operator of the file is in the plan: imported, or as it was and disabled. Whatever is wrong with the result
//     is in the report; a workflow that can be read never ends in an error.
import { readDrawing } from "../drawing.js";
import { groupBy } from "../group-by.js";
import { OPERATOR_TYPES } from "../operators/catalogue.js";
import type { LogicalLink, LogicalOperator, LogicalPlan } from "../plan.js";
import { planFindings } from "../plan-findings.js";
import type { ExportedLink, ExportedOperator, ExportedWorkflow } from "./exported-workflow.js";
import { type IdMaker, idMaker } from "./import-ids.js";
import { linker } from "./import-links.js";
import { type Fragment, type ImportChoices, type ImportRule, isRefusal, type Refusal, refused } from "./import-rule.js";
import { IMPORT_RULES } from "./import-rules.js";
import { type MappedCode, mappedFunction } from "./mapped-code.js";
import { readProperties } from "./texera-properties.js";

export interface ImportRequest extends ImportChoices {
  /** User functions that stand for operators, by operator type or operator id. */
  mapped: ReadonlyMap<string, MappedCode>;
}

export interface Import {
  plan: LogicalPlan;
  /** In the order of the file. */
  operators: OperatorAccount[];
  /** What prevents the plan from running although every operator is imported: sentences. */
  findings: string[];
}

/** What became of one operator of the file. */
export interface OperatorAccount {
  /** Its id in the file, and in the plan. */
  texeraId: string;
  id: string;
  texeraType: string;
  /** What people see in Texera; empty: nothing was given. */
  name: string;
  /** Refused operators are in the plan as they were, disabled; so are those that were disabled in Texera. */
  outcome: "imported" | "refused" | "disabled";
  /** The types of what it became; empty unless imported. */
  types: string[];
  /** Why it is refused, and what to do; else empty. */
  problem: string;
  /** What behaves otherwise than in Texera. */
  differences: string[];
}

/** Operators with what a rule made of them. */
interface Placed {
  operator: ExportedOperator;
  id: string;
  outcome: Fragment | Refusal;
  unions: boolean;
}

export function importWorkflow(workflow: ExportedWorkflow, request: ImportRequest): Import {
  const ids = idMaker(workflow.operators.map(({ id }) => id));
  const disabled = new Set(workflow.operators.filter((o) => o.disabled).map(({ id }) => id));
  const incoming = groupBy(workflow.links, ({ to }) => to);
  const placed = workflow.operators.map((operator): Placed => {
    const live = (incoming.get(operator.id) ?? []).filter(({ from }) => !disabled.has(from));
    const sources = operator.inputs.map((_, port) => live.filter(({ toPort }) => toPort === port).length);
    return {
      operator,
      id: ids.own(operator.id),
      outcome: importOperator(operator, sources, request),
      unions: sources.some((count) => count > 1),
    };
  });
  const plan = assemble(placed, incoming, disabled, ids);
  const operators = placed.map(accountOf);
  const complete = operators.every(({ outcome }) => outcome !== "refused");
  return { plan, operators, findings: complete ? drawingFindings(plan) : [] };
}

function importOperator(operator: ExportedOperator, sources: number[], request: ImportRequest): Fragment | Refusal {
  const properties = readProperties(operator.properties);
  const seen = { type: operator.type, properties, sources, outputs: operator.outputs.length };
  const code = request.mapped.get(operator.id) ?? request.mapped.get(operator.type);
  const rule = RULES.get(operator.type);
  if (code === undefined && rule === undefined)
    return refused(
      `Postern has nothing like ${operator.type}: give a user function for it with --map ${operator.type}=FILE.py, or leave it out in Texera.`,
    );
  const outcome = code === undefined ? rule!.apply(seen, request) : mappedFunction(seen, code);
  if (properties.problems.length > 0) return refused(properties.problems.join(" "));
  return isRefusal(outcome) ? outcome : checked(outcome, operator);
}

const RULES: ReadonlyMap<string, ImportRule> = new Map(
  IMPORT_RULES.flatMap((rule) => rule.types.map((type): [string, ImportRule] => [type, rule])),
);

/** The fragment when our own operators take it; the drawn ports must be those that the rule knows. */
function checked(fragment: Fragment, { type, inputs, outputs }: ExportedOperator): Fragment | Refusal {
  if (inputs.length !== fragment.inputs.length || outputs.length !== fragment.outputs)
    return refused(
      `It has ${ports(inputs.length, "input")} and ${ports(outputs.length, "output")} where ${type} has ${fragment.inputs.length} and ${fragment.outputs}; draw it anew in Texera and export again.`,
    );
  for (const { type: ours, properties } of fragment.operators) {
    const definition = OPERATOR_TYPES.get(ours);
    if (definition === undefined) return refused(`It needs the operator ${ours}, which this release does not have.`);
    const read = definition.read(properties);
    if ("findings" in read)
      return refused(`Our ${ours} does not take it: ${read.findings.map(({ message }) => message).join(" ")}`);
  }
  return fragment;
}

const ports = (count: number, side: string): string => `${count} ${side} port${count === 1 ? "" : "s"}`;

function assemble(
  placed: readonly Placed[],
  incoming: ReadonlyMap<string, ExportedLink[]>,
  disabled: ReadonlySet<string>,
  ids: IdMaker,
): LogicalPlan {
  const operators: LogicalOperator[] = [];
  const { links, unions, feed, gather } = linker();
  const idOf = new Map(placed.map(({ operator, id }) => [operator.id, id]));
  const sourceOf = ({ from, fromPort }: ExportedLink) => ({ from: idOf.get(from)!, fromPort });
  for (const { operator, id, outcome } of placed) {
    const into = incoming.get(operator.id) ?? [];
    const beside = (suffix: string) => ids.beside(id, suffix);
    if (isRefusal(outcome) || operator.disabled) {
      operators.push(asItWas(operator, id));
      for (const link of into) links.push({ ...sourceOf(link), to: id, toPort: link.toPort });
      continue;
    }
    const own = new Map(outcome.operators.map(({ suffix }) => [suffix, suffix === "" ? id : beside(suffix)]));
    for (const { suffix, type, properties } of outcome.operators)
      operators.push({
        id: own.get(suffix)!,
        type,
        properties,
        displayName: suffix === "" ? operator.displayName : "",
        disabled: false,
        viewResult: suffix === "" && operator.viewResult,
      });
    for (const { from, to, toPort } of outcome.links)
      links.push({ from: own.get(from)!, fromPort: 0, to: own.get(to)!, toPort });
    for (const [port, readers] of outcome.inputs.entries()) {
      const here = into.filter(({ toPort }) => toPort === port);
      const live = here.filter(({ from }) => !disabled.has(from));
      const nearby = () => beside(`in${port}`);
      if (outcome.gathers) gather(live.map(sourceOf), id, nearby);
      // A link from a disabled operator is kept where it is the only one: whoever enables it finds it.
      else
        feed(
          (live.length > 0 ? live : here.slice(0, 1)).map(sourceOf),
          readers.map((r) => ({ to: own.get(r.operator)!, toPort: r.port })),
          nearby,
        );
    }
  }
  return { operators: [...operators, ...unions], links: withoutRepeats(links) };
}

/** What is not imported stays to be seen, and to be replaced by hand. */
const asItWas = ({ type, properties, displayName, viewResult }: ExportedOperator, id: string): LogicalOperator => ({
  id,
  type,
  properties,
  displayName,
  disabled: true,
  viewResult,
});

/** Two links between the same ports of a disabled operator say nothing more than one. */
function withoutRepeats(links: readonly LogicalLink[]): LogicalLink[] {
  const key = ({ from, fromPort, to, toPort }: LogicalLink) => JSON.stringify([from, fromPort, to, toPort]);
  return [...new Map(links.map((link) => [key(link), link])).values()];
}

function accountOf({ operator, id, outcome, unions }: Placed): OperatorAccount {
  const account = { texeraId: operator.id, id, texeraType: operator.type, name: operator.displayName };
  if (operator.disabled) return { ...account, outcome: "disabled", types: [], problem: "", differences: [] };
  if (isRefusal(outcome))
    return { ...account, outcome: "refused", types: [], problem: outcome.refused, differences: [] };
  const types = outcome.operators.map(({ type }) => type);
  return {
    ...account,
    outcome: "imported",
    types: unions && !outcome.gathers ? ["union", ...types] : types,
    problem: "",
    differences: [...outcome.differences],
  };
}

function drawingFindings(plan: LogicalPlan): string[] {
  const findings = planFindings();
  readDrawing(plan, findings);
  return findings
    .list()
    .map(({ operatorId, message }) => (operatorId === "" ? message : `${JSON.stringify(operatorId)}: ${message}`));
}
