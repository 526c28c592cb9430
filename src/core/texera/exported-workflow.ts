// A workflow as the editor of Apache Texera exports it (JSON), read into plain data: what planning and importing rest on
// is checked, the rest (positions, comments, editor flags) is passed over. What is wrong is told in one sentence, the
// first finding of the file.
//
// X1  Operator ids and link ids are unique.
// X2  A link leads from an output port to an input port that its operators have. Ports are numbered by their place.
// X3  Disabled operators are gone, with every link that touches them, unless they are asked for; what is left has no
//     cycle.
import { z } from "zod";
import { AppError } from "../app-error.js";
import { didYouMean, listNames } from "../names.js";
import type { Properties } from "../plan.js";
import { findCycles } from "../plan-order.js";

export interface ExportedWorkflow {
  operators: ExportedOperator[];
  links: ExportedLink[];
}

export interface ExportedOperator {
  id: string;
  /** For example "HashJoin". */
  type: string;
  properties: Properties;
  /** What people see; empty: the id. */
  displayName: string;
  /** Always false where disabled operators were not asked for. */
  disabled: boolean;
  viewResult: boolean;
  inputs: ExportedInput[];
  outputs: ExportedOutput[];
}

export interface ExportedInput {
  /** For example "input-0". */
  portId: string;
  /** Numbers of the input ports that must be read to their end before this one. */
  dependsOn: number[];
}

export interface ExportedOutput {
  portId: string;
  /** True when the file says that no row leaves before the last one came. */
  blocking: boolean;
}

/** From and to are operator ids, ports their numbers. */
export interface ExportedLink {
  id: string;
  from: string;
  fromPort: number;
  to: string;
  toPort: number;
}

const flag = z.boolean().nullish();
const dependency = z.union([z.int().min(0), z.looseObject({ id: z.int().min(0) })]);
const port = z.looseObject({ portID: z.string().min(1), dependencies: z.array(dependency).nullish(), blocking: flag });
const operator = z.looseObject({
  operatorID: z.string().min(1).max(200),
  operatorType: z.string().min(1).max(200),
  operatorProperties: z.record(z.string(), z.json()).nullish(),
  inputPorts: z.array(port).nullish(),
  outputPorts: z.array(port).nullish(),
  isDisabled: flag,
  viewResult: flag,
  customDisplayName: z.string().nullish(),
});
const end = z.looseObject({ operatorID: z.string(), portID: z.string() });
const link = z.looseObject({ linkID: z.string().min(1).max(500), source: end, target: end });
const workflow = z.looseObject({ operators: z.array(operator), links: z.array(link) });

type FileOperator = z.infer<typeof operator>;
type FileLink = z.infer<typeof link>;

/** True for JSON that can only be meant as an exported Texera workflow, sound or not. */
export function isExportedWorkflow(json: unknown): boolean {
  if (!isObject(json)) return false;
  if ("operatorPositions" in json || "commentBoxes" in json) return true;
  const { operators } = json;
  return Array.isArray(operators) && operators.some((o) => isObject(o) && ("operatorID" in o || "operatorType" in o));
}

const isObject = (json: unknown): json is Record<string, unknown> => typeof json === "object" && json !== null;

/** Reads an exported workflow; `name` stands for the file in errors. */
export function readExportedWorkflow(
  json: unknown,
  name: string,
  { keepDisabled = false, purpose = "planned" } = {},
): ExportedWorkflow {
  const fail = (what: string): never => {
    throw new AppError("invalid", "INVALID_WORKFLOW", `${name} cannot be ${purpose}: ${what}`);
  };
  const shaped = workflow.safeParse(json);
  if (!shaped.success) {
    const [first] = shaped.error.issues;
    const where = first!.path.join(".") || "the file";
    return fail(`${where}: ${first!.message}. Export the workflow from Texera again.`);
  }
  const { operators, links } = shaped.data;
  refuseUnfitOperators(operators, fail);
  if (operators.every((o) => o.isDisabled))
    fail("every operator is disabled; enable one in Texera and export it again.");
  const wanted = new Map(operators.filter((o) => keepDisabled || !o.isDisabled).map((o) => [o.operatorID, o]));
  const left = new Set(operators.filter((o) => !wanted.has(o.operatorID)).map((o) => o.operatorID));
  const kept = links.filter(({ source, target }) => !left.has(source.operatorID) && !left.has(target.operatorID));
  const read = {
    operators: [...wanted.values()].map((o) => readOperator(o, fail)),
    links: readLinks(kept, wanted, fail),
  };
  const [cycle] = findCycles([...wanted.keys()], read.links);
  if (cycle) fail(`its links form a cycle: ${shortened([...cycle, cycle[0]!])}. Remove one of them.`);
  return read;
}

type Fail = (what: string) => never;

function refuseUnfitOperators(operators: FileOperator[], fail: Fail): void {
  if (operators.length === 0) fail("it has no operators; export a workflow that has some.");
  const seen = new Set<string>();
  for (const { operatorID: id } of operators) {
    // These four separate the parts of port ids and of the ids of physical operators.
    if (/[,()/]/.test(id)) fail(`the operator id ${quoted(id)} holds a comma, a parenthesis or a slash; rename it.`);
    if (seen.has(id)) fail(`two operators have the id ${quoted(id)}; give one of them another.`);
    seen.add(id);
  }
}

function readOperator(file: FileOperator, fail: Fail): ExportedOperator {
  const inputs = (file.inputPorts ?? []).map(({ portID, dependencies }) => ({
    portId: portID,
    dependsOn: (dependencies ?? []).map((d) => (typeof d === "number" ? d : d.id)),
  }));
  const outputs = (file.outputPorts ?? []).map(({ portID, blocking }) => ({
    portId: portID,
    blocking: blocking ?? false,
  }));
  const id = file.operatorID;
  for (const ports of [inputs, outputs]) {
    const seen = new Set<string>();
    const repeated = ports.find(({ portId }) => seen.size === seen.add(portId).size);
    if (repeated) fail(`operator ${quoted(id)} has two ports named ${quoted(repeated.portId)}; export it again.`);
  }
  refuseUnfitDependencies(id, inputs, fail);
  return {
    id,
    type: file.operatorType,
    properties: file.operatorProperties ?? {},
    displayName: file.customDisplayName ?? "",
    disabled: file.isDisabled ?? false,
    viewResult: file.viewResult ?? false,
    inputs,
    outputs,
  };
}

function refuseUnfitDependencies(id: string, inputs: ExportedInput[], fail: Fail): void {
  const waits = inputs.flatMap(({ dependsOn }, port) => dependsOn.map((on) => ({ from: `${on}`, to: `${port}` })));
  const absent = waits.find(({ from }) => inputs[Number(from)] === undefined);
  if (absent)
    fail(
      `input port ${absent.to} of ${quoted(id)} depends on input port ${absent.from}, which is not there; correct its dependencies.`,
    );
  const [cycle] = findCycles(Object.keys(inputs), waits);
  if (cycle)
    fail(`the input ports of ${quoted(id)} wait for each other (${cycle.join(", ")}); correct their dependencies.`);
}

function readLinks(links: FileLink[], operators: ReadonlyMap<string, FileOperator>, fail: Fail): ExportedLink[] {
  const seen = new Set<string>();
  const numbers = new Map([...operators].map(([id, operator]) => [id, portNumbers(operator)]));
  return links.map(({ linkID: id, source, target }) => {
    if (seen.has(id)) fail(`two links have the id ${quoted(id)}; remove one of them.`);
    seen.add(id);
    return {
      id,
      from: source.operatorID,
      fromPort: portNumber(id, source, "output", numbers, fail),
      to: target.operatorID,
      toPort: portNumber(id, target, "input", numbers, fail),
    };
  });
}

/** Numbers of an operator's ports, by their ids in the file. */
type PortNumbers = Record<"input" | "output", ReadonlyMap<string, number>>;

function portNumbers({ inputPorts, outputPorts }: FileOperator): PortNumbers {
  const numbered = (ports: FileOperator["inputPorts"]) => new Map((ports ?? []).map(({ portID }, i) => [portID, i]));
  return { input: numbered(inputPorts), output: numbered(outputPorts) };
}

function portNumber(
  linkId: string,
  { operatorID, portID }: FileLink["source"],
  side: "input" | "output",
  operators: ReadonlyMap<string, PortNumbers>,
  fail: Fail,
): number {
  const ports = operators.get(operatorID)?.[side];
  if (ports === undefined)
    return fail(
      `the link ${quoted(linkId)} names the operator ${quoted(operatorID)}, which does not exist${didYouMean(operatorID, operators.keys())} Correct or remove the link.`,
    );
  const number = ports.get(portID);
  if (number !== undefined) return number;
  const which = side === "input" ? "ends" : "begins";
  return fail(
    `the link ${quoted(linkId)} ${which} at port ${quoted(portID)} of ${quoted(operatorID)}, which has ${ports.size === 0 ? `no ${side} ports` : `the ${side} ports ${listNames([...ports.keys()])}`}. Correct or remove the link.`,
  );
}

const quoted = (text: string): string => JSON.stringify(text.length > 140 ? `${text.slice(0, 140)}…` : text);

const shortened = (cycle: string[]): string =>
  [...cycle.slice(0, 20), ...(cycle.length > 20 ? ["…", cycle[0]!] : [])].join(" → ");
