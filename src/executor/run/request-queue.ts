// What a child was asked and has not answered yet: at most two requests, so that the next one is there when it has done
// the first.

const MOST_WAITING = 2;

export interface RequestQueue<Item> {
  /** How many are in it. */
  waiting(): number;
  /** Resolves when another fits, or nothing more is to come. */
  room(): Promise<void>;
  add(item: Item): void;
  /** The oldest, once there is one; undefined when nothing more is to come. */
  oldest(): Promise<Item | undefined>;
  /** The oldest is done with. */
  answered(): void;
  /** Nothing more is to come. */
  end(): void;
}

export function createRequestQueue<Item>(): RequestQueue<Item> {
  const items: Item[] = [];
  let ended = false;
  let waiters: (() => void)[] = [];
  const changed = () => new Promise<void>((resolve) => void waiters.push(resolve));
  const ring = () => {
    const woken = waiters;
    waiters = [];
    for (const wake of woken) wake();
  };
  return {
    waiting: () => items.length,
    async room() {
      while (items.length >= MOST_WAITING && !ended) await changed();
    },
    add(item) {
      items.push(item);
      ring();
    },
    async oldest() {
      while (items.length === 0 && !ended) await changed();
      return items[0];
    },
    answered() {
      items.shift();
      ring();
    },
    end() {
      ended = true;
      ring();
    },
  };
}
