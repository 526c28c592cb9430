// Every operator type a plan may name.
import { aggregate } from "./aggregate.js";
import { derive } from "./derive.js";
import { distinct } from "./distinct.js";
import { filter } from "./filter.js";
import { join } from "./join.js";
import { limit } from "./limit.js";
import type { OperatorDefinition } from "./operator.js";
import { project } from "./project.js";
import { scan } from "./scan.js";
import { sort } from "./sort.js";
import { union } from "./union.js";
import { javascriptFunction, pythonFunction } from "./user-function.js";

/** By type, in the order people learn them. */
export const OPERATOR_TYPES: ReadonlyMap<string, OperatorDefinition> = new Map(
  [
    scan,
    filter,
    derive,
    project,
    join,
    aggregate,
    sort,
    limit,
    union,
    distinct,
    pythonFunction,
    javascriptFunction,
  ].map((definition) => [definition.type, definition]),
);
