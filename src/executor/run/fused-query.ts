// From a region to the steps that compute it. Pure.
//
// Relational operators are fused: one SELECT with one CTE per output port, each reading its inputs as `input0`, `input1`,
// … and casting its columns, by position, to its output schema. The fusion is cut where rows must be somewhere
// (region-cuts.ts):
//
// F1  A materialised port is written first and read back from its file by whoever in the region needs it.
// F2  User code reads a query per input port and fills a table per output port; what follows reads the tables. Functions
//     directly behind one another run in one step, and hand their rows on.
// F3  A port read from more than one place is computed once, into a table (`keep`). Not `AS MATERIALIZED`: DuckDB
//     does not keep the order of rows through a materialised CTE, and an ORDER BY must survive into the file.
//     Parquet scans are read again instead: that is cheaper, and lets each reader push its filter down.
// F4  What nobody needs is not computed: only the ports a pass is to write pull work.
import {
  globalPortId,
  type InputPort,
  type OutputPort,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  type Region,
} from "../../core/plan.js";
import { quoteName } from "../../core/sql-text.js";
import { RunFailure } from "./failure.js";
import type { SkippingScan } from "./malformed-rows.js";
import { type FusedPort, type FusedSource, tableLeaf } from "./query-profile.js";
import { type Cut, type CutDeps, cutRegion, type RegionGraph, regionGraph } from "./region-cuts.js";
import { castTo, readDataset, readParquet } from "./sql-text.js";
import {
  type CallInput,
  type CallOutput,
  type FunctionCalls,
  type Query,
  type Reads,
  type Step,
  tablesOf,
} from "./step.js";

export interface RegionDeps extends CutDeps {
  plan: PhysicalPlan;
  region: Region;
  /** Local file of a materialised port, whether it is there already or not. */
  pathOf(port: PortKey): string;
  /** Local file of a dataset's URI. */
  datasetPath(uri: string): string;
}

/** The steps of one pass over a region, in order; none when every port it is to write is there. */
export function planSteps(deps: RegionDeps): Step[] {
  return new RegionPlanner(deps).steps();
}

/** What a statement names: ports whose CTEs it needs, and what else it reads. */
interface Used extends Reads {
  ctes: Set<string>;
  skips: SkippingScan[];
  fused: Map<string, FusedPort>;
}

class RegionPlanner {
  readonly #deps: RegionDeps;
  readonly #graph: RegionGraph;
  readonly #cuts: ReadonlyMap<string, Cut>;

  constructor(deps: RegionDeps) {
    this.#deps = deps;
    this.#graph = regionGraph(deps.plan, deps.region);
    this.#cuts = cutRegion(this.#graph, deps);
  }

  steps(): Step[] {
    const steps: Step[] = [];
    for (const operator of this.#graph.members) {
      const needed = operator.outputs.filter(({ key }) => {
        const cut = this.#cuts.get(globalPortId(key));
        return cut !== undefined && cut !== "inline" && !this.#deps.isThere(key);
      });
      if (needed.length === 0 || this.#isFedByStream(operator)) continue;
      if (operator.implementation.kind === "user-function") steps.push(...this.#callSteps(operator));
      else for (const port of needed) steps.push(this.#stepOf(operator, port));
    }
    dropAfterLastUse(steps);
    return steps;
  }

  #stepOf(operator: PhysicalOperator, port: OutputPort): Step {
    const { reads, ...query } = this.#query((used) => this.#body(operator, port, used), operator, port.key);
    const base = { operator, port, drops: [], members: query.members, reads, query };
    if (this.#deps.isToWrite(port.key)) return { ...base, kind: "write" };
    return { ...base, kind: "keep", table: this.#tableOf(operator, port.key) };
  }

  /** The function that hands its rows on to this one is in the same step. */
  #isFedByStream(operator: PhysicalOperator): boolean {
    const [link] = this.#linksTo(operator);
    return link !== undefined && this.#cuts.get(globalPortId(link.from)) === "stream" && isCode(operator);
  }

  /** A function and those it hands rows on to, then a step for each port of theirs that is to be written. */
  #callSteps(first: PhysicalOperator): Step[] {
    const calls: FunctionCalls[] = [];
    const reads: Reads = { ports: new Set(), tables: new Set() };
    const add = (operator: PhysicalOperator): void => {
      calls.push(this.#callOf(operator, reads));
      for (const link of this.#deps.plan.links)
        if (operatorKey(link.from) === operatorKey(operator) && this.#cuts.get(globalPortId(link.from)) === "stream")
          add(this.#graph.members.find((member) => operatorKey(member) === operatorKey(link.to))!);
    };
    add(first);
    const fused = calls.flatMap(({ inputs }) =>
      inputs.flatMap((input) => (input.kind === "query" ? input.query.members : [])),
    );
    const members = [...new Set([...fused, ...calls.map(({ operator }) => operatorKey(operator))])];
    const writes = calls.flatMap(({ operator, outputs }) =>
      outputs.flatMap((output): Step[] => {
        if (output.kind !== "table" || !this.#deps.isToWrite(output.port.key)) return [];
        const { port, table } = output;
        const fused = { ports: new Map(), root: undefined };
        const query = { sql: `SELECT * FROM ${quoteName(table)}`, members: [operatorKey(operator)], skips: [], fused };
        const fromTable = { ports: new Set<string>(), tables: new Set([table]) };
        return [{ kind: "write", operator, members: query.members, reads: fromTable, drops: [], port, query }];
      }),
    );
    return [{ kind: "call", operator: calls.at(-1)!.operator, members, reads, drops: [], calls }, ...writes];
  }

  #callOf(operator: PhysicalOperator, reads: Reads): FunctionCalls {
    if (operator.implementation.kind !== "user-function") throw new Error("Only user code is called.");
    const { userFunction } = operator.implementation;
    const inputs = operator.inputs.map((input, n) => this.#callInput(operator, input, n, reads));
    const outputs = operator.outputs.map((port): CallOutput => {
      const cut = this.#cuts.get(globalPortId(port.key));
      if (cut === undefined || this.#deps.isThere(port.key)) return { port, kind: "nothing" };
      return cut === "stream"
        ? { port, kind: "stream" }
        : { port, kind: "table", table: this.#tableOf(operator, port.key) };
    });
    return { operator, userFunction, inputs, outputs };
  }

  #callInput(operator: PhysicalOperator, { schema }: InputPort, portId: number, reads: Reads): CallInput {
    const from = this.#linksTo(operator, portId).map((link) => link.from);
    if (this.#isFedByStream(operator)) return { kind: "stream", schema, port: globalPortId(from[0]!) };
    const root = from.length === 1 ? from[0] : undefined;
    const { reads: own, ...query } = this.#query(
      (used) => castTo(schema, this.#inputRelation(operator, portId, used).sql),
      undefined,
      root,
    );
    for (const port of own.ports) reads.ports.add(port);
    for (const table of own.tables) reads.tables.add(table);
    return { kind: "query", schema, query, from };
  }

  /** One statement: the CTEs of every port fused into it, then `main`, which is of `last` and gives the rows of `root`. */
  #query(main: (used: Used) => string, last?: PhysicalOperator, root?: PortKey): Query & { reads: Reads } {
    const used: Used = { ctes: new Set(), ports: new Set(), tables: new Set(), skips: [], fused: new Map() };
    const select = main(used);
    // Bodies name further ports: go back over the members until nothing new is named.
    const ctes: string[] = [];
    const members: string[] = [];
    for (const member of this.#graph.members.toReversed())
      for (const port of member.outputs) {
        if (!used.ctes.has(globalPortId(port.key))) continue;
        const name = quoteName(this.#cteOf(member, port.key));
        ctes.unshift(`${name} AS NOT MATERIALIZED (\n${this.#body(member, port, used)}\n)`);
        if (members[0] !== operatorKey(member)) members.unshift(operatorKey(member));
      }
    const sql = ctes.length > 0 ? `WITH ${ctes.join(",\n")}\n${select}` : select;
    if (last) members.push(operatorKey(last));
    const { ports, tables, skips, fused } = used;
    return {
      sql,
      members,
      skips,
      reads: { ports, tables },
      fused: { ports: fused, root: root && globalPortId(root) },
    };
  }

  /** The SELECT of one port of a relational operator; names what it reads in `used`. */
  #body(operator: PhysicalOperator, { key, schema }: OutputPort, used: Used): string {
    const { implementation } = operator;
    if (implementation.kind === "scan") {
      const path = this.#deps.datasetPath(implementation.scan.uri);
      const rejects = `rejects_${this.#position(operator, key)}`;
      if (implementation.scan.malformedRows === "skip") used.skips.push({ operator, path, rejects });
      used.fused.set(globalPortId(key), { operatorType: operator.type, inputs: [[{ leaf: path }]] });
      return readDataset(implementation.scan, { path, rejects }, schema);
    }
    if (implementation.kind === "user-function") throw new Error("User code is never part of a query.");
    const sql = [implementation.sql, ...implementation.furtherSql][operator.outputs.findIndex((o) => o.key === key)];
    if (sql === undefined)
      throw invalidPlan(
        operator,
        `Operator ${operator.operatorId} has ${operator.outputs.length} output ports and a query for ${1 + implementation.furtherSql.length} of them.`,
      );
    const inputs = operator.inputs.map((_, n) => this.#inputRelation(operator, n, used));
    used.fused.set(globalPortId(key), { operatorType: operator.type, inputs: inputs.map(({ sources }) => sources) });
    const named = inputs.map(({ sql: rows }, n) => `input${n} AS NOT MATERIALIZED (${rows})`);
    const withs = named.length > 0 ? `WITH ${named.join(", ")}\n` : "";
    return castTo(schema, `${withs}SELECT * FROM (\n${sql}\n) AS query`);
  }

  /** The rows that arrive at one input port: those of its link, or of all its links. */
  #inputRelation(operator: PhysicalOperator, portId: number, used: Used): { sql: string; sources: FusedSource[] } {
    const links = this.#linksTo(operator, portId);
    if (links.length === 0)
      throw invalidPlan(operator, `Input ${portId} of operator ${operator.operatorId} is not connected.`);
    const relations = links.map((link) => this.#relation(link, used));
    return {
      sql: relations.map(({ sql }) => sql).join(" UNION ALL "),
      sources: relations.map(({ source }) => source),
    };
  }

  #relation(link: PhysicalLink, used: Used): { sql: string; source: FusedSource } {
    const source = this.#graph.sourceOf(link);
    const id = globalPortId(link.from);
    if (!source || this.#cuts.get(id) === "file") {
      used.ports.add(id);
      const path = this.#deps.pathOf(link.from);
      return { sql: readParquet(path), source: { leaf: path } };
    }
    if (this.#cuts.get(id) === "table") {
      const table = this.#tableOf(source, link.from);
      used.tables.add(table);
      return { sql: `SELECT * FROM ${quoteName(table)}`, source: { leaf: tableLeaf(table) } };
    }
    used.ctes.add(id);
    return { sql: `SELECT * FROM ${quoteName(this.#cteOf(source, link.from))}`, source: { port: id } };
  }

  #linksTo(operator: PhysicalOperator, portId?: number): PhysicalLink[] {
    const links = this.#graph.incoming.get(operatorKey(operator)) ?? [];
    return portId === undefined ? links : links.filter((link) => link.to.portId === portId);
  }

  // By position in the plan: DuckDB's names ignore case, operator ids do not.
  #position = (operator: PhysicalOperator, key: PortKey): string => {
    const port = operator.outputs.findIndex((output) => globalPortId(output.key) === globalPortId(key));
    return `${this.#deps.plan.operators.indexOf(operator)}${operator.outputs.length > 1 ? ` port ${port}` : ""}`;
  };
  #cteOf = (operator: PhysicalOperator, key: PortKey) => `operator ${this.#position(operator, key)}`;
  #tableOf = (operator: PhysicalOperator, key: PortKey) => `rows of operator ${this.#position(operator, key)}`;
}

const isCode = ({ implementation }: PhysicalOperator): boolean => implementation.kind === "user-function";

const invalidPlan = (operator: PhysicalOperator, message: string) =>
  new RunFailure("PLAN_INVALID", message, { operatorId: operator.operatorId });

/** Finds for each table the last step that reads it. */
function dropAfterLastUse(steps: Step[]): void {
  for (const step of steps)
    for (const table of tablesOf(step)) {
      const last = steps.findLast((other) => other.reads.tables.has(table)) ?? step;
      last.drops.push(table);
    }
}
