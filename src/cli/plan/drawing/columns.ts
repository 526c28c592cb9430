// The grid a plan is drawn on. Regions stand in levels from left to right, each after those it reads (cached ones too,
// which the schedule has all at level 0); within a level each region is a slot, and its operators stand in columns by
// the longest path from the region's first ones. A link that passes other columns bends once in each of them, so that it
// keeps clear of what stands there.
//
// L1  Every link leads to a later column; its route has one item in each column on the way.
// L2  The items of a slot stay together: in every column they are neighbours, and slots of a level keep one order.
// L3  Links out of one port share their bends for as long as they run in the same slots.
import { groupBy } from "../../../core/group-by.js";
import { orderByLinks } from "../../../core/plan-order.js";
import type { PlanDocument, PlannedLink } from "../plan-document.js";

export type Drawable = Pick<PlanDocument, "operators" | "links" | "viewed" | "materialized" | "regions">;

/** What stands in one column: an operator, or the bend of links that pass. */
export interface Item {
  /** The operator; undefined for a bend. */
  operator: string | undefined;
  slot: Slot;
  column: number;
  before: Item[];
  after: Item[];
}

/** A horizontal strip of one level: a region's, or that of links passing the level. */
export interface Slot {
  /** Index of the level, from 0 without holes. */
  level: number;
  /** The region; undefined for links that pass. */
  region: number | undefined;
  /** Items by column of the level, from its first one on. */
  columns: Item[][];
}

export interface Level {
  /** Number of its first column. */
  start: number;
  /** How many columns it has. */
  width: number;
  /** From top to bottom. */
  slots: Slot[];
}

export interface Grid {
  levels: Level[];
  /** For each link of the plan the items from its source to its target. */
  routes: Item[][];
}

export function gridOf(plan: Drawable): Grid {
  const { levels, slotOf } = slotsOf(plan);
  const inner = plan.links.filter(({ from, to }) => slotOf.get(from) === slotOf.get(to));
  const columnOf = longestPaths(
    plan.operators.map(({ id }) => id),
    inner,
  );
  let start = 0;
  for (const level of levels) {
    level.start = start;
    const members = plan.operators.filter(({ id }) => levels[slotOf.get(id)!.level] === level);
    level.width = 1 + members.reduce((most, { id }) => Math.max(most, columnOf.get(id)!), 0);
    start += level.width;
    for (const slot of level.slots) slot.columns = Array.from({ length: level.width }, () => []);
  }
  const items = new Map<string, Item>();
  for (const { id } of plan.operators) {
    const slot = slotOf.get(id)!;
    const level = levels[slot.level]!;
    items.set(id, addItem(slot, level, level.start + columnOf.get(id)!, id));
  }
  const bends = new Map<string, Item>();
  return { levels, routes: plan.links.map((link) => routeOf(link, items, levels, bends)) };
}

function slotsOf(plan: Drawable): { levels: Level[]; slotOf: Map<string, Slot> } {
  const regionOf = new Map(plan.regions.flatMap(({ id, operators }) => operators.map((operator) => [operator, id])));
  const between = plan.links
    .map(({ from, to }) => ({ from: `${regionOf.get(from)}`, to: `${regionOf.get(to)}` }))
    .filter(({ from, to }) => from !== to);
  const regions = plan.regions.filter(({ operators }) => operators.length > 0);
  const levelOf = longestPaths(
    orderByLinks(
      regions.map(({ id }) => `${id}`),
      between,
    ),
    between,
  );
  const levels = Array.from(
    { length: 1 + Math.max(...levelOf.values()) },
    (): Level => ({ start: 0, width: 0, slots: [] }),
  );
  const slotOf = new Map<string, Slot>();
  for (const { id, operators } of regions) {
    const slot: Slot = { level: levelOf.get(`${id}`)!, region: id, columns: [] };
    levels[slot.level]!.slots.push(slot);
    for (const operator of operators) slotOf.set(operator, slot);
  }
  return { levels, slotOf };
}

/** For each node how many links lie before it on the longest way; nodes come each after what they read. */
function longestPaths(nodes: readonly string[], links: readonly { from: string; to: string }[]): Map<string, number> {
  const incoming = groupBy(links, ({ to }) => to);
  const lengths = new Map<string, number>();
  for (const node of nodes) {
    const before = (incoming.get(node) ?? []).map(({ from }) => lengths.get(from)!);
    lengths.set(
      node,
      before.reduce((most, length) => Math.max(most, length + 1), 0),
    );
  }
  return lengths;
}

function addItem(slot: Slot, { start }: Level, column: number, operator: string | undefined): Item {
  const item: Item = { operator, slot, column, before: [], after: [] };
  slot.columns[column - start]!.push(item);
  return item;
}

function routeOf(
  { from, fromPort, to }: PlannedLink,
  items: ReadonlyMap<string, Item>,
  levels: Level[],
  bends: Map<string, Item>,
): Item[] {
  const [source, target] = [items.get(from)!, items.get(to)!];
  const route = [source];
  for (let column = source.column + 1; column < target.column; column++) {
    const index = levels.findIndex(({ start, width }) => column < start + width);
    // Within one level all bends of a port are in one slot, except where its targets are in several.
    const own = index === source.slot.level ? source.slot : index === target.slot.level ? target.slot : undefined;
    const key = `${from}:${fromPort}:${column}:${own?.region ?? "passing"}`;
    let bend = bends.get(key);
    if (bend === undefined) {
      const former = route.at(-1)!;
      bend = addItem(own ?? passingSlot(former, levels, index), levels[index]!, column, undefined);
      bends.set(key, bend);
      connect(former, bend);
    }
    route.push(bend);
  }
  if (source.column < target.column) connect(route.at(-1)!, target);
  return [...route, target];
}

/** The slot of a bend that passes a level: the former bend's when it is in the same level, else a new one. */
function passingSlot(former: Item, levels: Level[], index: number): Slot {
  if (former.slot.level === index) return former.slot;
  const level = levels[index]!;
  const slot: Slot = {
    level: index,
    region: undefined,
    columns: Array.from({ length: level.width }, () => []),
  };
  level.slots.push(slot);
  return slot;
}

function connect(before: Item, after: Item): void {
  before.after.push(after);
  after.before.push(before);
}
