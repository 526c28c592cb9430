// Coordinates for an ordered grid, in pixels. Items keep their order and their distance, and otherwise come as near as
// they can to the height of what they are linked to: first within their slots, then the slots within their levels.
import type { Grid, Item, Slot } from "./columns.js";

export interface Placement {
  width: number;
  height: number;
  /** Left end of each column. */
  columnX: number[];
  /** Upper end of each item. */
  top: ReadonlyMap<Item, number>;
  /** Upper end and height of each slot, its frame included. */
  slots: ReadonlyMap<Slot, { top: number; height: number }>;
  heightOf(item: Item): number;
}

export const OPERATOR_WIDTH = 176;
export const FRAME = 14;
/** Room for the label of a region. */
export const FRAME_HEAD = 22;
const OPERATOR_HEIGHT = 42;
const PORT_HEIGHT = 16;
const BEND_HEIGHT = 4;
const ITEM_GAP = 16;
const SLOT_GAP = 18;
const COLUMN_GAP = 46;
const LEVEL_GAP = 74;
const MARGIN = 24;
const ROUNDS = 4;

/** `ports` tells how many ports an operator has on its fuller side. */
export function place({ levels }: Grid, ports: (operator: string) => number): Placement {
  const heightOf = ({ operator }: Item): number =>
    operator === undefined ? BEND_HEIGHT : Math.max(OPERATOR_HEIGHT, (ports(operator) + 1) * PORT_HEIGHT);
  const local = new Map<Item, number>();
  const slots = new Map<Slot, { top: number; height: number }>();
  for (const slot of levels.flatMap((level) => level.slots))
    slots.set(slot, { top: 0, height: placeWithin(slot, local, heightOf) });
  alignSlots(levels, slots, local, heightOf);
  const least = Math.min(...[...slots.values()].map(({ top }) => top));
  for (const box of slots.values()) box.top += MARGIN - least;
  const columnX: number[] = [];
  let x = MARGIN + FRAME;
  for (const { width } of levels) {
    for (let i = 0; i < width; i++) columnX.push(x + i * (OPERATOR_WIDTH + COLUMN_GAP));
    x += width * (OPERATOR_WIDTH + COLUMN_GAP) - COLUMN_GAP + LEVEL_GAP;
  }
  return {
    width: x - LEVEL_GAP + FRAME + MARGIN,
    height: Math.max(...[...slots.values()].map(({ top, height }) => top + height)) + MARGIN,
    columnX,
    top: new Map([...local].map(([item, y]) => [item, slots.get(item.slot)!.top + y])),
    slots,
    heightOf,
  };
}

/** Places the items of a slot from its upper end on; returns the slot's height. */
function placeWithin(slot: Slot, top: Map<Item, number>, heightOf: (item: Item) => number): number {
  const middle = (item: Item): number => top.get(item)! + heightOf(item) / 2;
  const align = (column: Item[], side: "before" | "after" | undefined) => {
    const wanted = column.map((item) => {
      const near = side ? item[side].filter((other) => other.slot === slot) : [];
      const present = top.get(item) ?? 0;
      return near.length > 0 ? mean(near.map(middle)) - heightOf(item) / 2 : present;
    });
    const tops = inOrder(wanted, column.map(heightOf), ITEM_GAP);
    for (const [i, item] of column.entries()) top.set(item, tops[i]!);
  };
  for (const column of slot.columns) align(column, undefined);
  for (let round = 0; round < ROUNDS; round++) {
    for (const column of slot.columns) align(column, "before");
    for (const column of slot.columns.toReversed()) align(column, "after");
  }
  const items = slot.columns.flat();
  const [head, foot] = slot.region === undefined ? [0, 0] : [FRAME_HEAD, FRAME];
  const least = Math.min(...items.map((item) => top.get(item)!));
  for (const item of items) top.set(item, top.get(item)! - least + head);
  return Math.max(...items.map((item) => top.get(item)! + heightOf(item))) + foot;
}

function alignSlots(
  levels: Grid["levels"],
  boxes: ReadonlyMap<Slot, { top: number; height: number }>,
  local: ReadonlyMap<Item, number>,
  heightOf: (item: Item) => number,
): void {
  const within = (item: Item): number => local.get(item)! + heightOf(item) / 2;
  const align = (slots: Slot[], side: "before" | "after" | undefined) => {
    const wanted = slots.map((slot) => {
      const pulls = (side ? slot.columns.flat() : []).flatMap((item) =>
        item[side!]
          .filter((other) => other.slot !== slot)
          .map((other) => boxes.get(other.slot)!.top + within(other) - within(item)),
      );
      return pulls.length > 0 ? mean(pulls) : boxes.get(slot)!.top;
    });
    const tops = inOrder(
      wanted,
      slots.map((slot) => boxes.get(slot)!.height),
      SLOT_GAP,
    );
    for (const [i, slot] of slots.entries()) boxes.get(slot)!.top = tops[i]!;
  };
  for (const { slots } of levels) align(slots, undefined);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { slots } of levels) align(slots, "before");
    for (const { slots } of levels.toReversed()) align(slots, "after");
  }
}

/**
 * Positions nearest to the wanted ones (least squares) at which things of these sizes stand in their order, `gap`
 * apart. Neighbours that would overlap are pooled into a block at the mean of what they want.
 */
export function inOrder(wanted: readonly number[], sizes: readonly number[], gap: number): number[] {
  let offset = 0;
  const offsets = sizes.map((size) => {
    const here = offset;
    offset += size + gap;
    return here;
  });
  const blocks: { sum: number; count: number }[] = [];
  for (const [i, want] of wanted.entries()) {
    blocks.push({ sum: want - offsets[i]!, count: 1 });
    for (let last = blocks.at(-1)!, former = blocks.at(-2); former; last = blocks.at(-1)!, former = blocks.at(-2)) {
      if (former.sum / former.count <= last.sum / last.count) break;
      blocks.splice(-2, 2, { sum: former.sum + last.sum, count: former.count + last.count });
    }
  }
  return blocks.flatMap(({ sum, count }) => Array<number>(count).fill(sum / count)).map((at, i) => at + offsets[i]!);
}

const mean = (numbers: number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
