// Drawing lots: which rows a seed chooses. A row's lot is a hash of its values, of how many equal rows were counted
// before it, and of the seed; so it depends neither on the order of rows nor on threads, and equal rows draw apart.
// Another release may hash differently and draw others.
import { z } from "zod";
import type { Schema } from "../plan.js";
import { columnOf } from "./settings.js";

/** What the lots depend on beside the rows. */
export const seed = z
  .int()
  .default(0)
  .describe(
    "Another seed draws other rows; the same one draws the same rows of the same input every time, with one release.",
  );

/** SQL of a row's lot: a number below 2^64, as good as random. For QUALIFY and ORDER BY, which may hold a window. */
export function lotOf(input: Schema, seedNumber: number): string {
  const columns = input.map(({ name }) => columnOf(0, input, name)).join(", ");
  return `hash(xor(hash(row_number() OVER (PARTITION BY ${columns}), ${columns}), hash(${seedNumber}::BIGINT)))`;
}

/** The condition that a lot is among the given share of all lots; `share` is 0 to 1. */
export const isAmong = (lot: string, share: number): string =>
  share >= 1 ? `${lot} >= 0` : `${lot} < ${BigInt(Math.floor(share * 2 ** 53)) << 11n}::UBIGINT`;
