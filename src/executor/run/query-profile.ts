// How many rows the operators of one query gave, read off the profile that DuckDB makes of it. Pure.
//
// DuckDB rearranges a query before it runs it: it filters before it joins, joins in another order, skips rows of one side
// of a join that the other side cannot match. What a step of its plan gave is what an operator of ours would have given
// only where nothing from above reached below it. So the two plans are walked together from the top, and the walk goes on
// only where that is certain; what it does not reach stays unknown.
//
// PR1  Steps that give a row for each row they read are passed over, and so are operators of that kind.
// PR2  An aggregate reads all of its input.
// PR3  An input of a join is known when a step below the join's reads exactly its sources and the join keeps every row of
//      it (the left side of a left join); or when no step there skips rows, so that none was skipped for the other side's
//      sake, and no operator there could have been changed into one that gives fewer.
// PR4  Below everything else (filters, limits, …) nothing is known.
import { ROW_PRESERVING_TYPES } from "../../core/operators/row-preserving.js";

/** A port whose rows a query computes. */
export interface FusedPort {
  operatorType: string;
  /** By input port, what feeds it. */
  inputs: FusedSource[][];
}

/** Another port of the query, by global port id; or a file or table it reads. */
export type FusedSource = { port: string } | { leaf: string };

/** The ports fused into a query, by global port id. */
export interface FusedQuery {
  ports: ReadonlyMap<string, FusedPort>;
  /** The port whose rows the query gives; undefined when it is several together, or none of its own. */
  root: string | undefined;
}

/** A step of DuckDB's plan, and how many rows it gave. */
interface Ran {
  type: string;
  rows: number;
  info: Record<string, unknown>;
  children: Ran[];
}

export interface QueryProfile {
  /** The most memory DuckDB held while the query ran, in bytes. */
  peakMemoryBytes: bigint;
  /** Undefined when there is no plan in it. */
  plan: unknown;
}

/** Reads DuckDB's JSON; undefined when it is none. */
export function parseProfile(text: string): QueryProfile | undefined {
  try {
    const { system_peak_buffer_memory: bytes, children } = JSON.parse(text) as Record<string, unknown>;
    const peakMemoryBytes = BigInt(typeof bytes === "number" ? Math.max(0, Math.trunc(bytes)) : 0);
    return { peakMemoryBytes, plan: Array.isArray(children) ? children[0] : undefined };
  } catch {
    return undefined; // figures are worth no failure
  }
}

/** Rows of ports, by global port id, as far as they can be told; `given` is how many the query gave. */
export function rowsOfPorts({ ports, root }: FusedQuery, { plan }: QueryProfile, given: bigint): Map<string, bigint> {
  const known = new Map<string, bigint>();
  const top = plan === undefined ? undefined : below(ranOf(plan), WRITERS);
  if (root === undefined || !top || BigInt(top.rows) !== given) return known;
  new Walk(ports, known).visit(root, top);
  return known;
}

/** What takes the rows of a query. */
const WRITERS = /^(BATCH_)?(COPY_TO_FILE|CREATE_TABLE_AS)$|RESULT_COLLECTOR$/;
/** PR1 */
const ONE_TO_ONE = /^(PROJECTION|ORDER_BY|WINDOW|STREAMING_WINDOW)$/;
const AGGREGATES = /^(HASH_GROUP_BY|PERFECT_HASH_GROUP_BY|UNGROUPED_AGGREGATE)$/;

class Walk {
  readonly #ports: FusedQuery["ports"];
  readonly #known: Map<string, bigint>;

  constructor(ports: FusedQuery["ports"], known: Map<string, bigint>) {
    this.#ports = ports;
    this.#known = known;
  }

  /** The step gives exactly the rows of the port. */
  visit(id: string, given: Ran): void {
    const port = this.#ports.get(id);
    if (!port) return;
    this.#known.set(id, BigInt(given.rows));
    const ran = below(given, ONE_TO_ONE);
    const inputs = port.inputs.map((sources) => (sources.length === 1 ? sources[0] : undefined));
    if (!ran || !inputs.every((source) => source !== undefined)) return;
    const [first] = inputs;
    if (first && ROW_PRESERVING_TYPES.has(port.operatorType)) {
      if ("port" in first) this.visit(first.port, ran);
    } else if (first && AGGREGATES.test(ran.type) && AGGREGATING.has(port.operatorType)) {
      const [child] = ran.children;
      if (child && "port" in first && this.#isMadeFrom(child, first)) this.visit(first.port, child);
    } else if (ran.type === "HASH_JOIN" && port.operatorType === "join" && inputs.length === 2)
      this.#visitJoin(inputs as [FusedSource, FusedSource], ran);
  }

  /** PR3 */
  #visitJoin(inputs: [FusedSource, FusedSource], join: Ran): void {
    const [probe, build] = join.children;
    if (!probe || !build) return;
    const leaves = inputs.flatMap((input) => this.#leavesOf(input));
    if (new Set(leaves).size !== leaves.length) return;
    for (const input of inputs) {
      const ran: Ran | undefined = [probe, build].find((child) => this.#isMadeFrom(child, input));
      if (!ran || !("port" in input)) continue;
      const isKept = keptSides(join).includes(ran === probe ? "probe" : "build");
      const isWhole = this.#isUnconditional(input) && !skipsRows(ran) && (ran === build || build.rows > 0);
      if (isKept || isWhole) this.visit(input.port, ran);
    }
  }

  #isMadeFrom(ran: Ran, source: FusedSource): boolean {
    const [ours, theirs] = [this.#leavesOf(source), leavesRead(ran)];
    return theirs !== undefined && ours.toSorted().join("\n") === theirs.toSorted().join("\n");
  }

  #leavesOf(source: FusedSource): string[] {
    if ("leaf" in source) return [source.leaf];
    const port = this.#ports.get(source.port);
    return (port?.inputs ?? []).flat().flatMap((input) => this.#leavesOf(input));
  }

  /** Made by operators that drop no row for what is in it. */
  #isUnconditional(source: FusedSource): boolean {
    if ("leaf" in source) return true;
    const port = this.#ports.get(source.port);
    if (!port || !UNCONDITIONAL.some((types) => types.has(port.operatorType))) return false;
    return port.inputs.flat().every((input) => this.#isUnconditional(input));
  }
}

/** Operators that read all of their input and give groups of it. */
const AGGREGATING: ReadonlySet<string> = new Set(["aggregate", "distinct"]);
const UNCONDITIONAL = [new Set(["scan"]), ROW_PRESERVING_TYPES, AGGREGATING];

/** Of which sides a join gives every row. */
function keptSides({ info }: Ran): ("probe" | "build")[] {
  switch (info["Join Type"]) {
    case "LEFT":
    case "ANTI":
      return ["probe"];
    case "RIGHT":
    case "RIGHT_ANTI":
      return ["build"];
    case "FULL":
    case "OUTER":
      return ["probe", "build"];
    default:
      return [];
  }
}

/** Somewhere below rows are dropped, for a reason of its own or for another step's. */
const skipsRows = ({ type, info, children }: Ran): boolean =>
  type === "FILTER" || info.Filters !== undefined || info["Dynamic Filters"] !== undefined || children.some(skipsRows);

function ranOf(value: unknown): Ran {
  const { operator_type, operator_cardinality, extra_info, children } = value as Record<string, unknown>;
  return {
    type: String(operator_type ?? ""),
    rows: typeof operator_cardinality === "number" ? operator_cardinality : 0,
    info: (typeof extra_info === "object" && extra_info) as Record<string, unknown>,
    children: Array.isArray(children) ? children.map(ranOf) : [],
  };
}

/** The first step, from there down, that is not of these types. */
function below(ran: Ran, types: RegExp): Ran | undefined {
  let at: Ran | undefined = ran;
  while (at && types.test(at.type)) at = at.children.length === 1 ? at.children[0] : undefined;
  return at;
}

/** Files and tables that are read there; undefined when something else is. */
function leavesRead({ children, info }: Ran): string[] | undefined {
  if (children.length === 0) {
    const leaf = info["Filename(s)"] ?? info.Table;
    return typeof leaf === "string" ? [leaf] : undefined;
  }
  const all = children.map(leavesRead);
  return all.every((leaves) => leaves !== undefined) ? all.flat() : undefined;
}

/** How DuckDB calls a table of a run. */
export const tableLeaf = (table: string): string => `memory.main."${table}"`;
