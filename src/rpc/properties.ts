// What the properties of an operator may hold, so that they arrive as they were sent. A name that no decoder keeps is
// refused where it is sent: whoever receives it does not see it any more.
import { invalid } from "../core/app-error.js";
import type { Json, Properties } from "../core/plan.js";

/** Deeper settings mean nothing to any operator, and every walk over them is a recursion. */
const MOST_LEVELS = 64;

/** The properties as they are. What is nested too deeply, or named as no decoder of ours can keep it, is refused. */
export function carriedProperties(operatorId: string, properties: Properties): Properties {
  let level: Json[] = [properties];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MOST_LEVELS)
      throw invalid(`The properties of operator ${named(operatorId)} are nested more than ${MOST_LEVELS} levels deep.`);
    const objects = level.filter((value) => typeof value === "object" && value !== null);
    for (const object of objects) refuseLostName(operatorId, object);
    level = objects.flatMap((value) => Object.values(value));
  }
  return properties;
}

/** The generated decoders assign map entries by name, and a plain object's `__proto__` is no entry: it would be lost. */
export function refuseLostName(operatorId: string, map: object): void {
  if (Object.hasOwn(map, "__proto__"))
    throw invalid(
      `Operator ${named(operatorId)} has a setting called "__proto__", which is lost on the way: rename it.`,
    );
}

const named = (operatorId: string) => JSON.stringify(operatorId.slice(0, 128));
