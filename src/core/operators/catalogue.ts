// Every operator type a plan may name.
import { aggregate } from "./aggregate.js";
import { cartesianProduct } from "./cartesian-product.js";
import { cast } from "./cast.js";
import { chart } from "./chart.js";
import { dateParts } from "./date-parts.js";
import { derive } from "./derive.js";
import { difference } from "./difference.js";
import { distinct } from "./distinct.js";
import { fillNulls } from "./fill-nulls.js";
import { filter } from "./filter.js";
import { intersect } from "./intersect.js";
import { intervalJoin } from "./interval-join.js";
import { join } from "./join.js";
import { limit } from "./limit.js";
import type { OperatorDefinition } from "./operator.js";
import { pivot } from "./pivot.js";
import { project } from "./project.js";
import { regexExtract } from "./regex-extract.js";
import { regexSplit } from "./regex-split.js";
import { sample } from "./sample.js";
import { scan } from "./scan.js";
import { sort } from "./sort.js";
import { split } from "./split.js";
import { sql } from "./sql.js";
import { symmetricDifference } from "./symmetric-difference.js";
import { textSource } from "./text-source.js";
import { topK } from "./top-k.js";
import { union } from "./union.js";
import { unnest } from "./unnest.js";
import { unpivot } from "./unpivot.js";
import { javascriptFunction, pythonFunction } from "./user-function.js";
import { window } from "./window.js";

/** By type, in the order people learn them. */
export const OPERATOR_TYPES: ReadonlyMap<string, OperatorDefinition> = new Map(
  [
    scan,
    textSource,
    filter,
    derive,
    project,
    cast,
    fillNulls,
    dateParts,
    regexExtract,
    regexSplit,
    unnest,
    join,
    cartesianProduct,
    intervalJoin,
    aggregate,
    pivot,
    unpivot,
    sort,
    topK,
    window,
    limit,
    sample,
    split,
    union,
    intersect,
    difference,
    symmetricDifference,
    distinct,
    sql,
    chart,
    pythonFunction,
    javascriptFunction,
  ].map((definition) => [definition.type, definition]),
);
