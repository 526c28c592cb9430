// Words of core ⇄ numbers of the wire, for every enum of a plan.
import { invalid } from "../core/app-error.js";

/** Both directions of one enum; `fromWire` refuses the zero value and numbers this release does not know. */
export interface EnumCodec<Word extends string, Wire extends number> {
  toWire(word: Word): Wire;
  fromWire(value: Wire): Word;
}

/** Makes a codec from the one table of pairs; `what` names the enum in the refusal. */
export function enumCodec<Word extends string, Wire extends number>(
  what: string,
  table: Record<Word, Wire>,
): EnumCodec<Word, Wire> {
  const words = new Map<Wire, Word>((Object.entries(table) as [Word, Wire][]).map(([word, value]) => [value, word]));
  return {
    toWire: (word) => table[word],
    fromWire(value) {
      const word = words.get(value);
      if (word !== undefined) return word;
      throw invalid(`The ${what} is missing or unknown to this release (${value}); upgrade the older side.`);
    },
  };
}
