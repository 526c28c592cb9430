// What has been paid for along one path of the search. A thing costs its price once, however many cut links use it.
import type { Bundle } from "./part.js";
import type { CostTable } from "./schedule-cost.js";

export interface Purse {
  /** Pays for what a bundle uses and tells what that cost. */
  pay(bundle: Bundle): number;
  /** Undoes payments; order does not matter. */
  refund(bundles: readonly Bundle[]): void;
  /** What cutting the bundle would cost now. */
  priceOf(bundle: Bundle): number;
  /** The price of a thing, 0 once it is paid for. */
  unpaid(thing: number): number;
  readonly things: number;
  /** A number per thing, for whoever needs one for a moment. */
  readonly scratch: Float64Array;
}

export function createPurse({ prices, paid: certain }: CostTable): Purse {
  const paid = Int32Array.from(certain);
  const unpaid = (thing: number) => (paid[thing] === 0 ? prices[thing]! : 0);
  return {
    things: prices.length,
    scratch: new Float64Array(prices.length),
    unpaid,
    pay(bundle) {
      let cost = 0;
      for (const thing of bundle.uses) {
        cost += unpaid(thing);
        paid[thing] = paid[thing]! + 1;
      }
      return cost;
    },
    refund(bundles) {
      for (const bundle of bundles) for (const thing of bundle.uses) paid[thing] = paid[thing]! - 1;
    },
    priceOf(bundle) {
      let price = 0;
      for (const thing of bundle.uses) price += unpaid(thing);
      return price;
    },
  };
}
