// Values inside JSON, as SQL of a column type.
import { z } from "zod";
import type { AttributeType } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { duckdbType } from "../sql-text.js";

/** Types a value inside JSON may be given. */
export const jsonValueType = z.enum(["any", "string", "integer", "long", "double", "boolean", "timestamp"]);

/** A JSON expression's value; one that is not of the type ends the run, and JSON's null is null. */
export function jsonValue(json: string, type: AttributeType): string {
  const text = `json_extract_string(${json}, '$')`;
  switch (type) {
    case "any":
      return `CASE WHEN json_type(${json}) <> 'NULL' THEN ${json} END`;
    case "string":
      return text;
    case "timestamp":
      return `timezone('UTC', CAST(${text} AS TIMESTAMPTZ))`;
    default:
      return `CAST(${text} AS ${duckdbType(type)})`;
  }
}

/** The member of a JSON object, whatever its name holds. */
export const jsonMember = (json: string, name: string): string =>
  `json_extract(${json}, ${quoteText(`/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`)})`;
