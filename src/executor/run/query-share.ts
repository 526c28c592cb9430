// How far a query is. DuckDB tells rows it has come by, of all that the parts of its plan are to come by: files and tables
// that are read, then what joins, aggregates and sorts hand on. Told as one share that is nobody's: a join keeps half of it
// for rows it may put on disk and mostly does not, and an aggregate gives nothing while half is done. So two stages are
// told apart, with what the plan says it is to read.
//
// QS1 Reading comes before what is gathered: shares of both grow from 0 to 1, the second when the first is done.
// QS2 The plan is asked for when somebody first asks how far the query is, so a short one is planned once.

export interface QueryShare {
  /** Of everything: 0 to 1. */
  done: number;
  /** Undefined until the plan is known. */
  stages: QueryStages | undefined;
}

/** Shares from 0 to 1. */
export interface QueryStages {
  /** Of the rows of files and tables. */
  read: number;
  /** Of what is gathered from all of them before it goes on. */
  gathered: number;
}

/** As DuckDB tells it. */
export interface QueryProgress {
  /** Below 0 when it cannot tell. */
  percentage: number;
  rows_processed: bigint;
  total_rows_to_process: bigint;
}

/** What a plan is to come by, in rows, as DuckDB expects them. */
export interface PlannedRows {
  read: number;
  joined: number;
}

/** Asks how far one query is; `explain` gives its plan as JSON, or nothing when it is to be asked again. */
export function watchShare(deps: {
  explain(): Promise<string> | undefined;
  progress(): QueryProgress;
}): () => QueryShare | undefined {
  let answer: { planned: PlannedRows | undefined } | undefined;
  let isAsked = false;
  return () => {
    const asked = isAsked ? undefined : deps.explain(); // QS2
    if (asked) {
      isAsked = true;
      asked.then(
        (text) => {
          answer = { planned: plannedRows(text) };
        },
        () => {
          answer = { planned: undefined }; // figures are worth no failure
        },
      );
    }
    return shareOf(deps.progress(), answer);
  };
}

/** Undefined when DuckDB cannot tell. Without a plan both stages are as far as the whole. */
export function shareOf(
  { percentage, rows_processed, total_rows_to_process }: QueryProgress,
  answer: { planned: PlannedRows | undefined } | undefined,
): QueryShare | undefined {
  if (!(percentage >= 0 && percentage <= 100)) return undefined;
  const told = percentage / 100;
  if (!answer) return { done: told, stages: undefined };
  const { read = 0, joined = 0 } = answer.planned ?? {};
  const [processed, total] = [Number(rows_processed), Number(total_rows_to_process)];
  if (read === 0 || total < read + joined) return { done: told, stages: { read: told, gathered: told } };
  const beyond = total - read - joined;
  // Not all: a join that puts rows on disk has them still to come.
  const done = Math.max(told, Math.min(0.99, processed / (total - joined)));
  const readShare = Math.min(1, processed / read);
  // A plan that gathers next to nothing is done when it has read.
  const gathered = beyond < FEW ? readShare : Math.min(1, Math.max(0, processed - read) / beyond);
  return { done, stages: { read: readShare, gathered } };
}

const FEW = 100;

/** Reads DuckDB's JSON; undefined when it is none. */
export function plannedRows(explained: string): PlannedRows | undefined {
  const rows = { read: 0, joined: 0 };
  const visit = (value: unknown): void => {
    const { name, children, extra_info } = value as { name: string; children: unknown[]; extra_info: object };
    const expected = Number((extra_info as Record<string, unknown>)["Estimated Cardinality"] ?? 0);
    if (children.length === 0) rows.read += expected;
    if (name.endsWith("HASH_JOIN")) rows.joined += expected;
    for (const child of children) visit(child);
  };
  try {
    for (const root of JSON.parse(explained) as unknown[]) visit(root);
  } catch {
    return undefined; // figures are worth no failure
  }
  return Number.isFinite(rows.read + rows.joined) ? rows : undefined;
}
