// Which stored results are used again, and what must therefore run.
//
// A forward pass estimates what each output port costs to have: reading it where it is stored, or running its operator
// on inputs had in the cheaper way. A reverse pass from the results people look at decides what is needed, and for each
// needed port that is stored, whether it is read. Both take one step per operator and link.
//
// U1  A port is reused only when it is stored, and an operator runs only when a port of it is needed and not reused: so
//     nothing runs that nobody needs, and nothing at all when every result is stored.
// U2  A result people look at is reused whenever it is stored: nobody has to read it.
// U3  Another port is reused when reading it is estimated no dearer than computing it again; equal costs reuse.
// U4  When an operator runs for one of its ports, computing the others costs nothing more.
//
// The estimates are those of reuse-prices.ts.
import { groupBy } from "./group-by.js";
import { globalPortId, operatorKey, type PhysicalOperator, type PhysicalPlan } from "./plan.js";
import { estimatePrices } from "./reuse-prices.js";
import { reuseReason } from "./reuse-reason.js";

/** A stored result. */
export interface StoredPort {
  tupleCount: bigint;
  byteCount: bigint;
  /** What computing it took, with all it was made from; 0 when that is unknown. */
  computeMs: number;
}

/** What was decided about a stored port, and by which estimates. */
export interface PortReuse {
  globalPortId: string;
  reused: boolean;
  /** What reading it takes; 0 when nothing that runs reads it. */
  readMs: number;
  /** What computing it again would take, beyond what runs anyway. */
  recomputeMs: number;
  /** A sentence. */
  reason: string;
}

export interface ReuseFacts {
  /** Stored results that may be used, by global port id. */
  stored: ReadonlyMap<string, StoredPort>;
  /** Ports people look at, by global port id. Ports nobody consumes are added. */
  viewed: ReadonlySet<string>;
  /** What operators took when they last ran (never what a reused result took), by operator key. */
  seconds: ReadonlyMap<string, number>;
  /** Sizes of ports as last computed, by global port id. */
  bytes?: ReadonlyMap<string, number>;
}

export interface ReusePlan {
  /** Global port ids: these are not computed. */
  reused: Set<string>;
  /** Operator keys: these must run. */
  execute: Set<string>;
  /** One for every stored port of the plan, in plan order. */
  decisions: PortReuse[];
}

type Plan = Pick<PhysicalPlan, "operators" | "links">;

/** Decides what is reused and what runs. Operators come each after what it reads. */
export function planReuse(plan: Plan, facts: ReuseFacts): ReusePlan {
  const prices = estimatePrices(plan, facts);
  const results = new Set([...facts.viewed, ...unconsumed(plan)]);
  const reused = new Set<string>();
  const execute = new Set<string>();
  const decisions: PortReuse[] = [];
  walkBack(plan, results, (operator, ports, isNeeded, isRead) => {
    const recomputeMs = prices.computeMs.get(operatorKey(operator))!;
    const isDear = (port: string) => !results.has(port) && prices.readMs.get(port)! > recomputeMs;
    const runs = ports.some((port) => isNeeded(port) && (!facts.stored.has(port) || isDear(port)));
    if (runs) execute.add(operatorKey(operator));
    for (const port of [...ports].reverse()) {
      const stored = facts.stored.get(port);
      if (stored === undefined) continue;
      const isResult = results.has(port);
      const runsAnyway = runs && !isDear(port);
      const question = {
        isReused: isNeeded(port) && (isResult || !runs),
        isNeeded: isNeeded(port),
        isResult,
        readMs: isRead(port) || !isResult ? prices.readMs.get(port)! : 0,
        recomputeMs: runsAnyway ? 0 : recomputeMs, // U4
        runsAnyway,
        byteCount: stored.byteCount,
      };
      if (question.isReused) reused.add(port);
      const { isReused, readMs } = question;
      decisions.push({
        globalPortId: port,
        reused: isReused,
        readMs,
        recomputeMs: question.recomputeMs,
        reason: reuseReason(question),
      });
    }
    return runs;
  });
  return { reused, execute, decisions: decisions.reverse() };
}

/**
 * What must run so that the wanted ports come to be, when the ports of `sources` are there or come from elsewhere.
 * Operators come each after what it reads.
 */
export function neededOperators(plan: Plan, sources: ReadonlySet<string>, wanted: ReadonlySet<string>): Set<string> {
  const needed = new Set<string>();
  walkBack(plan, wanted, (operator, ports, isNeeded) => {
    const runs = ports.some((port) => isNeeded(port) && !sources.has(port));
    if (runs) needed.add(operatorKey(operator));
    return runs;
  });
  return needed;
}

/** Global ids of an operator's output ports, and what is known of them once everything downstream is decided. */
type Visit = (
  operator: PhysicalOperator,
  ports: readonly string[],
  isNeeded: (port: string) => boolean,
  /** Something that runs reads it. */
  isRead: (port: string) => boolean,
) => boolean;

/** Visits operators from the last to the first; what one reads that runs (`visit` says so) is needed. */
function walkBack({ operators, links }: Plan, wanted: ReadonlySet<string>, visit: Visit): void {
  const incoming = groupBy(links, ({ to }) => operatorKey(to));
  const read = new Set<string>();
  const isRead = (port: string) => read.has(port);
  const isNeeded = (port: string) => wanted.has(port) || read.has(port);
  for (let i = operators.length - 1; i >= 0; i--) {
    const operator = operators[i]!;
    const ports = operator.outputs.map(({ key }) => globalPortId(key));
    if (!visit(operator, ports, isNeeded, isRead)) continue;
    for (const { from } of incoming.get(operatorKey(operator)) ?? []) read.add(globalPortId(from));
  }
}

/** Output ports no link leaves. */
function unconsumed({ operators, links }: Plan): string[] {
  const consumed = new Set(links.map(({ from }) => globalPortId(from)));
  return operators
    .flatMap(({ outputs }) => outputs.map(({ key }) => globalPortId(key)))
    .filter((p) => !consumed.has(p));
}
