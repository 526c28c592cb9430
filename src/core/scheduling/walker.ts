// Finds closed walks in a part (closed-walks.ts): which cut links are on one, and a shortest one through each.
import { strongComponents } from "./graph-search.js";
import { adjacency, type Part } from "./part.js";

/** What a free bundle still has to give; it is not followed backwards when that is nothing. */
type Left = (bundle: number) => number;

export interface Walker {
  /** Cut bundles on a closed walk. */
  offenders(left?: Left): number[];
  /** The free bundles that a closed walk through a cut bundle follows backwards; of all such walks one with fewest. */
  shortest(offender: number, left?: Left): number[] | undefined;
}

export function createWalker(part: Part): Walker {
  const { from, to, cut } = part;
  const size = part.prices.length;
  const leaving = adjacency(from, size);
  const entering = adjacency(to, size);
  /** The round in which a node was reached, and through which bundle. */
  const reached = new Int32Array(size);
  const through = new Int32Array(size);
  const links = 2 * from.length + 1;
  const now = new Int32Array(links);
  const later = new Int32Array(links);
  let round = 0;

  const backwardsOn = (start: number, goal: number): number[] => {
    const found: number[] = [];
    for (let at = goal; at !== start; ) {
      const bundle = through[at]!;
      // A node reached backwards is the start of the bundle it was reached through.
      if (to[bundle] === at) at = from[bundle]!;
      else {
        found.push(bundle);
        at = to[bundle]!;
      }
    }
    return found;
  };

  return {
    offenders(left) {
      const { componentOf } = strongComponents(part, leaving, entering, left);
      const found: number[] = [];
      for (let b = 0; b < cut.length; b++) if (cut[b] && componentOf[from[b]!] === componentOf[to[b]!]) found.push(b);
      return found;
    },
    shortest(offender, left) {
      const [start, goal] = [to[offender]!, from[offender]!];
      round++;
      // Breadth first by steps backwards; steps forwards are free. `now` holds nodes, `later` bundles to be followed.
      let count = 1;
      now[0] = start;
      reached[start] = round;
      for (;;) {
        let pending = 0;
        while (count > 0) {
          const node = now[--count]!;
          if (node === goal) return backwardsOn(start, goal);
          for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
            const bundle = leaving.list[i]!;
            const next = to[bundle]!;
            if (reached[next] === round) continue;
            reached[next] = round;
            through[next] = bundle;
            now[count++] = next;
          }
          for (let i = entering.start[node]!; i < entering.start[node + 1]!; i++) {
            const bundle = entering.list[i]!;
            if (!cut[bundle] && reached[from[bundle]!] !== round) later[pending++] = bundle;
          }
        }
        for (let i = 0; i < pending; i++) {
          const bundle = later[i]!;
          const next = from[bundle]!;
          if (reached[next] === round || (left && left(bundle) === 0)) continue;
          reached[next] = round;
          through[next] = bundle;
          now[count++] = next;
        }
        if (count === 0) return undefined;
      }
    },
  };
}
