// Which way up the slots of a level and the items of a column stand: near to what they are linked to, so that few lines
// cross. Sweeps from left to right and back put each at the mean height (barycentre) of its neighbours on one side; the
// order with the fewest crossings that was seen stays.
import { groupBy } from "../../../core/group-by.js";
import type { Grid, Item, Slot } from "./columns.js";

const SWEEPS = 12;

/** Orders slots and items in place. */
export function reduceCrossings({ levels }: Grid): void {
  const heights = heightsOf(levels);
  let best = { crossings: countCrossings(levels), order: snapshot(levels) };
  for (let sweep = 0; sweep < SWEEPS && best.crossings > 0; sweep++) {
    const forward = sweep % 2 === 0;
    const side = forward ? ("before" as const) : ("after" as const);
    for (const level of forward ? levels : levels.toReversed()) {
      orderSlots(level.slots, side, heights);
      for (const slot of level.slots)
        for (const column of forward ? slot.columns : slot.columns.toReversed()) {
          sortByMean(column, (item) => item[side].map((other) => heights.get(other)!), heights);
          measureColumn(column, slot, heights);
        }
    }
    const crossings = countCrossings(levels);
    if (crossings < best.crossings) best = { crossings, order: snapshot(levels) };
  }
  restore(levels, best.order);
}

type Levels = Grid["levels"];

/** How high items and slots are, counted in items: the middle of an item, the upper end of a slot. */
type Heights = Map<Item | Slot, number>;

function heightsOf(levels: Levels): Heights {
  const heights: Heights = new Map();
  for (const { slots } of levels) measureSlots(slots, heights);
  return heights;
}

function measureSlots(slots: Slot[], heights: Heights): void {
  let top = 0;
  for (const slot of slots) {
    heights.set(slot, top);
    for (const column of slot.columns) measureColumn(column, slot, heights);
    top += rowsOf(slot);
  }
}

/** The items of a column share the height of its slot. */
function measureColumn(column: Item[], slot: Slot, heights: Heights): void {
  const rows = rowsOf(slot);
  for (const [i, item] of column.entries()) heights.set(item, heights.get(slot)! + ((i + 0.5) / column.length) * rows);
}

const rowsOf = ({ columns }: Slot): number => columns.reduce((most, { length }) => Math.max(most, length), 1);

function orderSlots(slots: Slot[], side: "before" | "after", heights: Heights): void {
  sortByMean(
    slots,
    (slot) =>
      slot.columns
        .flat()
        .flatMap((item) => item[side])
        .filter((other) => other.slot !== slot)
        .map((other) => heights.get(other)!),
    heights,
  );
  measureSlots(slots, heights);
}

/** Sorts by the mean of some numbers; what has none keeps its present height. */
function sortByMean<T extends Item | Slot>(things: T[], numbers: (thing: T) => number[], heights: Heights): void {
  const keyed = things.map((thing) => {
    const found = numbers(thing);
    return { thing, key: found.length > 0 ? mean(found) : heights.get(thing)! };
  });
  keyed.sort((a, b) => a.key - b.key);
  things.splice(0, things.length, ...keyed.map(({ thing }) => thing));
}

const mean = (numbers: number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

/** Pairs of lines between neighbouring columns that cross. */
export function countCrossings(levels: Levels): number {
  const heights = heightsOf(levels);
  const items = levels.flatMap(({ slots }) => slots.flatMap(({ columns }) => columns.flat()));
  const lines = items.flatMap((item) =>
    item.after.map((next) => ({ column: item.column, ends: [heights.get(item)!, heights.get(next)!] as const })),
  );
  let crossings = 0;
  for (const between of groupBy(lines, ({ column }) => column).values()) {
    const ends = between.map((line) => line.ends).sort(([a, c], [b, d]) => a - b || c - d);
    crossings += inversions(ends.map(([, to]) => to)).count;
  }
  return crossings;
}

/** Pairs that are in the wrong order, counted while merging sorted halves. */
function inversions(numbers: number[]): { sorted: number[]; count: number } {
  if (numbers.length < 2) return { sorted: numbers, count: 0 };
  const middle = numbers.length >> 1;
  const [left, right] = [inversions(numbers.slice(0, middle)), inversions(numbers.slice(middle))];
  const sorted: number[] = [];
  let count = left.count + right.count;
  for (let l = 0, r = 0; l < left.sorted.length || r < right.sorted.length; ) {
    const takeLeft = r === right.sorted.length || (l < left.sorted.length && left.sorted[l]! <= right.sorted[r]!);
    if (!takeLeft) count += left.sorted.length - l;
    sorted.push(takeLeft ? left.sorted[l++]! : right.sorted[r++]!);
  }
  return { sorted, count };
}

type Order = { slots: Slot[]; columns: Item[][][] }[];

const snapshot = (levels: Levels): Order =>
  levels.map(({ slots }) => ({
    slots: [...slots],
    columns: slots.map(({ columns }) => columns.map((column) => [...column])),
  }));

function restore(levels: Levels, order: Order): void {
  for (const [i, { slots, columns }] of order.entries()) {
    levels[i]!.slots = slots;
    for (const [j, slot] of slots.entries()) slot.columns = columns[j]!;
  }
}
