// What the compiler asks of a database that knows SQL, without running anything.
import type { Finding, NamedExpression, NamedStatement } from "./operators/operator.js";
import type { Schema } from "./plan.js";

/** One relational operator over inputs whose columns are known. */
export interface BindRequest {
  /** Input n is the table `input<n>`. */
  inputs: readonly Schema[];
  /** Checked one by one before the whole, so that a finding names its property. */
  expressions: readonly NamedExpression[];
  /** Whole SELECTs of authors, checked alike: they read nothing but the inputs. */
  statements: readonly NamedStatement[];
  /** One SELECT that contains the expressions. */
  sql: string;
}

export type BindResult =
  | {
      ok: true;
      schema: Schema;
      /** The statement to run: gives columns that can be cast to the schema. */
      sql: string;
      /** Why two runs may differ, as a sentence; undefined when they may not. */
      nondeterminism: string | undefined;
    }
  | { ok: false; findings: Finding[] };

/** Rejects with the signal's reason once it aborts. */
export type BindSchemas = (request: BindRequest, signal?: AbortSignal) => Promise<BindResult>;
