// The drawing as the compiler sees it: what is left when disabled operators are gone, each operator with its settings
// read, each input port with its link. Everything wrong with that is reported here, before any schema is known.
import { groupBy } from "./group-by.js";
import { isName } from "./ids.js";
import { didYouMean, listNames } from "./names.js";
import { OPERATOR_TYPES } from "./operators/catalogue.js";
import type { Finding, OperatorInstance } from "./operators/operator.js";
import type { LogicalLink, LogicalOperator, LogicalPlan, Properties } from "./plan.js";
import type { PlanFindings } from "./plan-findings.js";
import { findCycles, orderByLinks } from "./plan-order.js";

const MOST_OPERATORS = 2_000;
const MOST_LINKS = 10_000;

/** An operator whose settings are sound. */
export interface DrawnOperator extends LogicalOperator {
  properties: Properties;
  instance: OperatorInstance;
  /** The link that feeds each input port; undefined where one is missing, which has been reported. */
  feeds: (LogicalLink | undefined)[];
}

/** The sound operators, each after what it reads; what lies on or behind a cycle is left out. */
export function readDrawing(plan: LogicalPlan, findings: PlanFindings): DrawnOperator[] {
  if (plan.operators.length > MOST_OPERATORS || plan.links.length > MOST_LINKS) {
    findings.plan(
      `The plan has ${plan.operators.length} operators and ${plan.links.length} links; at most ${MOST_OPERATORS} and ${MOST_LINKS} are allowed. Split it.`,
    );
    return [];
  }
  const operators = enabledOperators(plan, findings);
  const read = new Map([...operators].map(([id, operator]) => [id, readOperator(operator, findings)]));
  const links = soundLinks(plan, operators, read, findings);
  reportCycles(operators, links, findings);
  const feeds = groupBy(links, ({ to }) => to);
  return orderByLinks([...operators.keys()], links).flatMap((id) => {
    const settings = read.get(id);
    if (settings === undefined) return [];
    const linked = linkedPorts(operators.get(id)!, settings.instance.inputs, feeds.get(id) ?? [], plan, findings);
    return [{ ...operators.get(id)!, ...settings, feeds: linked }];
  });
}

/** By id: a repeated id is reported once, and its first operator stands for it. */
function enabledOperators({ operators }: LogicalPlan, findings: PlanFindings): Map<string, LogicalOperator> {
  const enabled = operators.filter(({ disabled }) => !disabled);
  if (enabled.length === 0)
    findings.plan(
      operators.length === 0
        ? "The plan has no operators; begin with a scan."
        : "Every operator of the plan is disabled; enable one.",
    );
  const byId = groupBy(enabled, ({ id }) => id);
  for (const [id, { length }] of byId) {
    if (!isName(id))
      findings.operator(id, {
        property: "id",
        message:
          id === ""
            ? "An operator has no id; give it one."
            : `${JSON.stringify(id.slice(0, 140))} is no valid id: use letters, digits, "_", "." and "-", starting with a letter or digit, at most 128 characters.`,
      });
    if (length > 1)
      findings.operator(id, {
        property: "id",
        message: `${length} operators have the id ${JSON.stringify(id)}; ids must differ.`,
      });
  }
  return new Map([...byId].map(([id, [first]]) => [id, first!]));
}

function readOperator(
  { id, type, properties }: LogicalOperator,
  findings: PlanFindings,
): { properties: Properties; instance: OperatorInstance } | undefined {
  const definition = OPERATOR_TYPES.get(type);
  if (definition === undefined) {
    const types = [...OPERATOR_TYPES.keys()];
    const message =
      type === ""
        ? `The operator has no type; the types are ${types.join(", ")}.`
        : `There is no operator type ${JSON.stringify(type.slice(0, 140))}${didYouMean(type, types)} The types are ${types.join(", ")}.`;
    findings.operator(id, { property: "type", message });
    return undefined;
  }
  const read = definition.read(properties);
  if (!("findings" in read)) return read;
  findings.operator(id, ...read.findings);
  return undefined;
}

/** The links between operators that exist, without those of disabled ones. */
function soundLinks(
  plan: LogicalPlan,
  operators: ReadonlyMap<string, LogicalOperator>,
  read: ReadonlyMap<string, { instance: OperatorInstance } | undefined>,
  findings: PlanFindings,
): LogicalLink[] {
  const disabled = new Set(plan.operators.filter((o) => o.disabled && !operators.has(o.id)).map(({ id }) => id));
  const ids = [...operators.keys()];
  return plan.links.filter((link) => {
    const { from, to, fromPort, toPort } = link;
    if (disabled.has(from) || disabled.has(to)) return false;
    const unknown = [from, to].filter((id, i, both) => !operators.has(id) && both.indexOf(id) === i);
    for (const id of unknown)
      findings.plan(
        `The link from ${JSON.stringify(from)} to ${JSON.stringify(to)} names an operator that does not exist: ${JSON.stringify(id)}${didYouMean(id, ids)}`,
      );
    if (unknown.length > 0) return false;
    const [source, target] = [read.get(from), read.get(to)];
    const outputs = source?.instance.outputs ?? 1;
    if (source && (fromPort < 0 || fromPort >= outputs)) {
      const message = `${JSON.stringify(from)}, which it is linked to, has no output port ${fromPort}; it has ${portRange(outputs)}.`;
      findings.operator(to, { property: "", message });
      return false;
    }
    if (target && (toPort < 0 || toPort >= target.instance.inputs)) {
      const { inputs } = target.instance;
      const message =
        inputs === 0
          ? `${JSON.stringify(to)} takes no input; remove the link from ${JSON.stringify(from)}.`
          : `${JSON.stringify(to)} has no input port ${toPort}, where the link from ${JSON.stringify(from)} ends; it has ${portRange(inputs)}.`;
      findings.operator(to, { property: "", message });
      return false;
    }
    return true;
  });
}

const portRange = (count: number): string => (count === 1 ? "port 0 only" : `ports 0 to ${count - 1}`);

function reportCycles(
  operators: ReadonlyMap<string, LogicalOperator>,
  links: LogicalLink[],
  findings: PlanFindings,
): void {
  for (const cycle of findCycles([...operators.keys()], links)) {
    const way = [...cycle.slice(0, 20), ...(cycle.length > 20 ? ["…"] : []), cycle[0]].join(" → ");
    findings.operator(cycle[0]!, { property: "", message: `The links form a cycle: ${way}. Remove one of them.` });
  }
}

function linkedPorts(
  { id }: LogicalOperator,
  inputs: number,
  links: LogicalLink[],
  plan: LogicalPlan,
  findings: PlanFindings,
): (LogicalLink | undefined)[] {
  const byPort = groupBy(links, ({ toPort }) => toPort);
  return Array.from({ length: inputs }, (_, port) => {
    const [link, ...more] = byPort.get(port) ?? [];
    if (link === undefined) findings.operator(id, ...unlinked(id, port, inputs, plan));
    if (more.length > 0) {
      const sources = listNames([link!, ...more].map(({ from }) => JSON.stringify(from)));
      const others = inputs > 1 ? ' give each its own "toPort",' : "";
      findings.operator(id, {
        property: "",
        message: `Input port ${port} takes one link and has ${more.length + 1} (from ${sources});${others} or put a union before it.`,
      });
    }
    return link;
  });
}

/** A link that is gone because something is wrong with it has been reported already. */
function unlinked(id: string, port: number, inputs: number, plan: LogicalPlan): Finding[] {
  const where = inputs === 1 ? "Its input" : `Its input port ${port}`;
  const lost = plan.links.find((link) => link.to === id && link.toPort === port);
  if (lost === undefined) return [{ property: "", message: `${where} has no link; link an operator to it.` }];
  if (!plan.operators.some((o) => o.id === lost.from && o.disabled)) return [];
  const message = `${where} has no link, because ${JSON.stringify(lost.from)} is disabled; link another operator to it.`;
  return [{ property: "", message }];
}
