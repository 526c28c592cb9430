// What having a port costs: reading it where it is stored, or computing it. Estimates in milliseconds, from what is known:
//
// 1. what the operator took when it last ran;
// 2. else, for an operator with a stored port, what that is known to have taken, less what its stored inputs took;
// 3. else a guess from the operator's kind and the bytes that go in.
//
// P1  Inputs are had in the cheaper way: read when stored, or computed; ports of one operator are computed together.
// P2  A total counts an operator twice that reaches it on two ways. It never exceeds what the stored port is known to
//     have taken with all it was made from, nor what running everything up to it would take.
import { groupBy } from "./group-by.js";
import {
  globalPortId,
  type Implementation,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalPlan,
} from "./plan.js";
import type { ReuseFacts, StoredPort } from "./reuse.js";

// Guesses, in the order of magnitude of DuckDB 1.5 on two cores over local files (4 columns, 5 million rows): only which
// is dearer counts. Bytes are those of Parquet files, as ports are stored.

/** Opening a Parquet file and reading its footer takes 1.6 ms locally; object storage takes more. */
const OPEN_MS = 2;
/** 400 measured locally; half of it leaves room for object storage. */
const READ_BYTES_PER_MS = 200_000;
const SCAN_BYTES_PER_MS = { parquet: 400_000, json: 250_000, csv: 180_000 } as const;
/** Between a join (300,000), a grouping (120,000) and a sort that is written (60,000). */
const QUERY_BYTES_PER_MS = 100_000;
/** A process of its own is started, and the first batch of JavaScript takes 180 ms. */
const FUNCTION_START_MS = 200;
/** QuickJS takes 0.8 s for 100,000 rows, here of about 20 bytes each. */
const FUNCTION_BYTES_PER_MS = 2_500;
/** A port of which no size is known, and no input either. */
const UNKNOWN_BYTES = 1_000_000;

export interface Prices {
  /** Reading a stored port, by global port id; stored ports only. */
  readMs: Map<string, number>;
  /** Running an operator on inputs had in the cheaper way, by operator key. */
  computeMs: Map<string, number>;
}

/** Prices of every operator and stored port. Operators come each after what it reads. */
export function estimatePrices(plan: Pick<PhysicalPlan, "operators" | "links">, facts: ReuseFacts): Prices {
  const prices: Prices = { readMs: new Map(), computeMs: new Map() };
  const incoming = groupBy(plan.links, ({ to }) => operatorKey(to));
  const bytes = new Map<string, number>();
  const totals = new Map<string, number>();
  let everythingMs = 0;
  for (const operator of plan.operators) {
    const key = operatorKey(operator);
    const sources = portsBySource(incoming.get(key) ?? []);
    const inputBytes = sum(sources, ([, ports]) => sum(ports, (port) => bytes.get(port) ?? UNKNOWN_BYTES));
    const lastRun = facts.seconds.get(key);
    const ownMs = lastRun === undefined ? guessedMs(operator.implementation, inputBytes) : lastRun * 1_000;
    const total = totalMs(operator, facts.stored);
    if (total !== undefined) totals.set(key, total);
    // Of a known total, what its inputs are not known to have taken is its own share.
    const counted = total === undefined ? sources : sources.filter(([source]) => totals.has(source));
    const shareMs =
      total === undefined
        ? ownMs
        : Math.max(lastRun === undefined ? 0 : ownMs, total - sum(counted, ([source]) => totals.get(source)!));
    everythingMs += shareMs;
    const inputsMs = sum(counted, ([source, ports]) => cheaperMs(source, ports, prices));
    prices.computeMs.set(key, Math.min(shareMs + inputsMs, total ?? everythingMs)); // P2
    for (const { key: portKey } of operator.outputs) {
      const port = globalPortId(portKey);
      const stored = facts.stored.get(port);
      if (stored) prices.readMs.set(port, OPEN_MS + Number(stored.byteCount) / READ_BYTES_PER_MS);
      const known = facts.bytes?.get(port) ?? (stored && Number(stored.byteCount));
      bytes.set(port, known ?? producedBytes(operator.implementation, inputBytes));
    }
  }
  return prices;
}

/** The output ports that feed an operator, each once, by the operator they belong to. */
function portsBySource(links: readonly PhysicalLink[]): [source: string, ports: string[]][] {
  const ports = groupBy(links, ({ from }) => operatorKey(from));
  return [...ports].map(([source, of]) => [source, [...new Set(of.map(({ from }) => globalPortId(from)))]]);
}

/** Reading an operator's ports when all are stored, or running it once for all of them (P1). */
function cheaperMs(source: string, ports: readonly string[], { readMs, computeMs }: Prices): number {
  return Math.min(
    computeMs.get(source)!,
    sum(ports, (port) => readMs.get(port) ?? Number.POSITIVE_INFINITY),
  );
}

/** What the operator and everything before it are known to have taken. */
function totalMs({ outputs }: PhysicalOperator, stored: ReadonlyMap<string, StoredPort>): number | undefined {
  const known = outputs.map(({ key }) => stored.get(globalPortId(key))?.computeMs ?? 0);
  const most = Math.max(0, ...known);
  return most > 0 ? most : undefined;
}

function guessedMs(implementation: Implementation, inputBytes: number): number {
  switch (implementation.kind) {
    case "scan":
      return OPEN_MS + Number(implementation.scan.byteCount) / SCAN_BYTES_PER_MS[implementation.scan.format.kind];
    case "query":
      return inputBytes / QUERY_BYTES_PER_MS;
    case "user-function":
      return FUNCTION_START_MS + inputBytes / FUNCTION_BYTES_PER_MS;
  }
}

/** Nothing better is known of what an operator gives than that it is about what it gets. */
const producedBytes = (implementation: Implementation, inputBytes: number): number =>
  implementation.kind === "scan" ? Number(implementation.scan.byteCount) : inputBytes;

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += of(item);
  return total;
}
