// Ids of operators in the imported plan. Texera's are kept where ours allow them; others are made fit, the same way each
// time, and stay distinct.
import { hash } from "node:crypto";
import { isName } from "../ids.js";

/** Room that is left in an id of 128 characters for what is put behind it. */
const LONGEST = 100;

/** Gives ids that are not taken yet. */
export interface IdMaker {
  /** The id of an operator of the file. */
  own(texeraId: string): string;
  /** The id of an operator beside it. */
  beside(id: string, suffix: string): string;
}

/** Ids of the file that can stay as they are keep their place, whatever the others become. */
export function idMaker(texeraIds: readonly string[]): IdMaker {
  const kept = texeraIds.filter(fits);
  const taken = new Set(kept);
  const made = new Map(kept.map((id) => [id, id]));
  const free = (wanted: string): string => {
    let id = wanted;
    for (let n = 2; taken.has(id); n++) id = `${wanted}-${n}`;
    taken.add(id);
    return id;
  };
  return {
    own(texeraId) {
      const known = made.get(texeraId);
      if (known !== undefined) return known;
      const id = free(madeFit(texeraId));
      made.set(texeraId, id);
      return id;
    },
    beside: (id, suffix) => free(`${id}.${suffix}`),
  };
}

const fits = (id: string): boolean => isName(id) && id.length <= LONGEST;

function madeFit(id: string): string {
  const readable = id.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  const digest = hash("sha256", id).slice(0, 8);
  return readable === "" ? `operator-${digest}` : `${readable.slice(0, LONGEST - 9)}-${digest}`;
}
