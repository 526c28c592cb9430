// From a region to the steps that compute it. Pure.
//
// Relational operators are fused: one SELECT with one CTE per operator, each reading its inputs as `input0`, `input1`, …
// and casting its columns, by position, to its output schema. The fusion is cut where rows must be somewhere:
//
// F1  A materialised port is written first and read back from its file by whoever in the region needs it.
// F2  User code reads one query and fills one table; what follows reads the table.
// F3  An operator read from more than one place is computed once, into a table (`keep`). Not `AS MATERIALIZED`: DuckDB
//     does not keep the order of rows through a materialised CTE, and an ORDER BY must survive into the file.
//     Parquet scans are read again instead: that is cheaper, and lets each reader push its filter down.
// F4  What nobody needs is not computed: only the ports a pass is to write pull work.
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  type Region,
  type UserFunction,
} from "../../core/plan.js";
import { quoteName } from "../../core/sql-text.js";
import { RunFailure } from "./failure.js";
import { castTo, readDataset, readParquet } from "./sql-text.js";

/** What a step reads that was computed before. */
export interface Reads {
  /** Materialised ports, by global port id. */
  ports: Set<string>;
  /** Tables of earlier steps. */
  tables: Set<string>;
}

interface StepBase {
  /** The operator whose output this step gives. */
  operator: PhysicalOperator;
  /** Keys of the operators this step computes, `operator` last. */
  members: string[];
  /** Where its rows come from, beside datasets. */
  reads: Reads;
  /** Tables nobody needs after this step. */
  drops: string[];
}
export type Step =
  /** Write the query's rows as the port's file. */
  | (StepBase & { kind: "write"; port: OutputPort; sql: string })
  /** Keep the query's rows in a table. */
  | (StepBase & { kind: "keep"; table: string; sql: string })
  /** Call user code with the query's rows; its rows fill a table. */
  | (StepBase & { kind: "call"; table: string; sql: string; userFunction: UserFunction });

export interface RegionDeps {
  plan: PhysicalPlan;
  region: Region;
  /** Local file of a materialised port, whether it is there already or not. */
  pathOf(port: PortKey): string;
  /** True when the port's file is complete. */
  isThere(port: PortKey): boolean;
  /** True for a port this pass over the region is to write; everything these read is there. */
  isToWrite(port: PortKey): boolean;
  /** Local file of a dataset's URI. */
  datasetPath(uri: string): string;
}

/** The operators of a region, each after what it reads. */
export function membersOf(plan: PhysicalPlan, region: Region): PhysicalOperator[] {
  const keys = new Set(region.operators.map(operatorKey));
  return plan.operators.filter((o) => keys.has(operatorKey(o)));
}

/** The steps of one pass over a region, in order; none when every port it is to write is there. */
export function planSteps(deps: RegionDeps): Step[] {
  return new RegionPlanner(deps).steps();
}

/** What a statement names: operators whose CTEs it needs (by key), and what else it reads. */
interface Used extends Reads {
  operators: Set<string>;
}

/** How an operator's rows are had by those who read them. */
type Cut = "inline" | "file" | "table";

class RegionPlanner {
  readonly #deps: RegionDeps;
  readonly #members: PhysicalOperator[];
  readonly #byKey: Map<string, PhysicalOperator>;
  readonly #incoming = new Map<string, PhysicalLink[]>();
  readonly #cuts = new Map<string, Cut>();

  constructor(deps: RegionDeps) {
    this.#deps = deps;
    this.#members = membersOf(deps.plan, deps.region);
    this.#byKey = new Map(this.#members.map((o) => [operatorKey(o), o]));
    for (const link of deps.plan.links) {
      const to = operatorKey(link.to);
      if (this.#byKey.has(to)) this.#incoming.set(to, [...(this.#incoming.get(to) ?? []), link]);
    }
    this.#cut();
  }

  /** Decides from the last operator to the first, because who reads an operator decides how it is had. */
  #cut(): void {
    /** For each operator the steps that would compute it, were it fused into its readers. */
    const usedBy = new Map<string, Set<string>>();
    for (const operator of this.#members.toReversed()) {
      const key = operatorKey(operator);
      const port = outputOf(operator);
      if (this.#deps.isThere(port.key)) {
        this.#cuts.set(key, "file");
        continue;
      }
      const steps = usedBy.get(key) ?? new Set();
      if (!this.#writes(port) && steps.size === 0) continue; // F4
      const cut = this.#cutOf(operator, port, steps.size);
      this.#cuts.set(key, cut);
      this.#sources(operator).forEach((source, n) => {
        const users = usedBy.get(source) ?? new Set();
        // Each place of use counts: a self-join reads an operator twice within one step.
        for (const step of cut === "inline" ? steps : [key]) users.add(`${step}>${key}#${n}`);
        usedBy.set(source, users);
      });
    }
  }

  #writes = (port: OutputPort): boolean => this.#deps.isToWrite(port.key);

  #cutOf(operator: PhysicalOperator, port: OutputPort, uses: number): Cut {
    if (this.#writes(port)) return "file";
    if (operator.implementation.kind === "user-function") return "table";
    if (uses <= 1) return "inline";
    const { implementation } = operator;
    const rereadable = implementation.kind === "scan" && implementation.scan.format.kind === "parquet";
    return rereadable ? "inline" : "table";
  }

  /** Keys of the members an operator reads within the region, once per link. */
  #sources(operator: PhysicalOperator): string[] {
    return (this.#incoming.get(operatorKey(operator)) ?? [])
      .filter((link) => !link.materialized)
      .map((link) => operatorKey(link.from));
  }

  steps(): Step[] {
    const steps: Step[] = [];
    for (const operator of this.#members) {
      const cut = this.#cuts.get(operatorKey(operator));
      const port = outputOf(operator);
      if (cut === undefined || cut === "inline" || this.#deps.isThere(port.key)) continue;
      steps.push(...this.#stepsOf(operator, port));
    }
    dropAfterLastUse(steps);
    return steps;
  }

  #stepsOf(operator: PhysicalOperator, port: OutputPort): Step[] {
    const table = this.#tableOf(operator);
    const base = { operator, drops: [] };
    if (operator.implementation.kind === "user-function") {
      const { userFunction } = operator.implementation;
      const input = operator.inputs[0]?.schema ?? [];
      const query = this.#query(operator, (used) => castTo(input, this.#inputRelation(operator, 0, used)));
      const call: Step = { ...base, kind: "call", table, userFunction, ...query };
      if (!this.#writes(port)) return [call];
      const reads = { ports: new Set<string>(), tables: new Set([table]) };
      const write = { members: [operatorKey(operator)], reads, sql: `SELECT * FROM ${quoteName(table)}` };
      return [call, { ...base, kind: "write", port, drops: [], ...write }];
    }
    const query = this.#query(operator, (used) => this.#body(operator, used));
    return this.#writes(port)
      ? [{ ...base, kind: "write", port, ...query }]
      : [{ ...base, kind: "keep", table, ...query }];
  }

  /** One statement: the CTEs of every operator fused into it, then `main`. */
  #query(
    operator: PhysicalOperator,
    main: (used: Used) => string,
  ): Pick<StepBase, "members" | "reads"> & { sql: string } {
    const used: Used = { operators: new Set(), ports: new Set(), tables: new Set() };
    const select = main(used);
    // Bodies name further operators: go back over the members until nothing new is named.
    const ctes = new Map<string, string>();
    for (const candidate of this.#members.toReversed()) {
      const key = operatorKey(candidate);
      if (used.operators.has(key))
        ctes.set(key, `${quoteName(this.#cteOf(candidate))} AS NOT MATERIALIZED (\n${this.#body(candidate, used)}\n)`);
    }
    const members = this.#members.map(operatorKey).filter((key) => ctes.has(key));
    const withs = members.map((key) => ctes.get(key)!);
    const sql = withs.length > 0 ? `WITH ${withs.join(",\n")}\n${select}` : select;
    const { ports, tables } = used;
    return { sql, members: [...members, operatorKey(operator)], reads: { ports, tables } };
  }

  /** The SELECT of one relational operator; names what it reads in `used`. */
  #body(operator: PhysicalOperator, used: Used): string {
    const { implementation } = operator;
    const { schema } = outputOf(operator);
    if (implementation.kind === "scan")
      return readDataset(implementation.scan, this.#deps.datasetPath(implementation.scan.uri), schema);
    if (implementation.kind === "user-function") throw new Error("User code is never part of a query.");
    const inputs = operator.inputs.map(
      (_, n) => `input${n} AS NOT MATERIALIZED (${this.#inputRelation(operator, n, used)})`,
    );
    const withs = inputs.length > 0 ? `WITH ${inputs.join(", ")}\n` : "";
    return castTo(schema, `${withs}SELECT * FROM (\n${implementation.sql}\n) AS query`);
  }

  /** The rows that arrive at one input port: those of its link, or of all its links. */
  #inputRelation(operator: PhysicalOperator, portId: number, used: Used): string {
    const links = (this.#incoming.get(operatorKey(operator)) ?? []).filter((link) => link.to.portId === portId);
    if (links.length === 0)
      throw invalidPlan(operator, `Input ${portId} of operator ${operator.operatorId} is not connected.`);
    return links.map((link) => this.#relation(link, used)).join(" UNION ALL ");
  }

  #relation(link: PhysicalLink, used: Used): string {
    const source = this.#byKey.get(operatorKey(link.from));
    if (link.materialized || !source || this.#cuts.get(operatorKey(source)) === "file") {
      used.ports.add(globalPortId(link.from));
      return readParquet(this.#deps.pathOf(link.from));
    }
    if (this.#cuts.get(operatorKey(source)) === "table") {
      used.tables.add(this.#tableOf(source));
      return `SELECT * FROM ${quoteName(this.#tableOf(source))}`;
    }
    used.operators.add(operatorKey(source));
    return `SELECT * FROM ${quoteName(this.#cteOf(source))}`;
  }

  // By position in the plan: DuckDB's names ignore case, operator ids do not.
  #position = (operator: PhysicalOperator) => this.#deps.plan.operators.indexOf(operator);
  #cteOf = (operator: PhysicalOperator) => `operator ${this.#position(operator)}`;
  #tableOf = (operator: PhysicalOperator) => `rows of operator ${this.#position(operator)}`;
}

/** An operator of this release has one output port. */
export function outputOf(operator: PhysicalOperator): OutputPort {
  const [port, ...more] = operator.outputs;
  if (port && more.length === 0) return port;
  throw invalidPlan(
    operator,
    `Operator ${operator.operatorId} has ${operator.outputs.length} output ports; this executor runs operators with one.`,
  );
}

const invalidPlan = (operator: PhysicalOperator, message: string) =>
  new RunFailure("PLAN_INVALID", message, { operatorId: operator.operatorId });

/** Finds for each table the last step that reads it. */
function dropAfterLastUse(steps: Step[]): void {
  for (const step of steps) {
    if (step.kind === "write") continue;
    const last = steps.findLast((other) => other.reads.tables.has(step.table)) ?? step;
    last.drops.push(step.table);
  }
}
