// From what the author drew to what runs: schemas on every port, datasets pinned, regions cut, ports fingerprinted.
//
// P1  Everything wrong is reported at once: form first (drawing.ts), then datasets, then columns and expressions.
// P2  An operator behind a broken one is not judged: its inputs are unknown, and a finding about it would be noise.
// P3  The same plan over the same dataset versions compiles to the same bytes.
import { type FoundDataset, parseDatasetReference } from "./dataset-reference.js";
import { type DrawnOperator, readDrawing } from "./drawing.js";
import { withFingerprints } from "./fingerprint.js";
import type { Finding, Ordering } from "./operators/operator.js";
import { findColumn, noColumn } from "./operators/settings.js";
import {
  type Compilation,
  type DatasetScan,
  type Implementation,
  type LogicalLink,
  type LogicalPlan,
  type PhysicalOperator,
  type PhysicalPlan,
  PLAN_FORMAT,
  type PortKey,
  type Schema,
} from "./plan.js";
import { type PlanFindings, planFindings } from "./plan-findings.js";
import { schedulePlan } from "./scheduling/schedule-plan.js";
import type { BindSchemas } from "./schema-binding.js";

export interface CompileDeps {
  /** The version a reference means; undefined when it is absent or the caller may not read it. */
  resolveDataset(reference: string): Promise<FoundDataset | undefined>;
  bindSchemas: BindSchemas;
  /** rpc/plan-codec.ts: the digest is over the wire form, which core does not know. */
  planDigest(plan: PhysicalPlan): string;
  /** Marks and cuts the plan; left out: as few ports as a short search finds. */
  schedule?: ScheduleCompiled;
  /** Gives the compilation up between two operators, and while one is bound. */
  signal?: AbortSignal;
}

/**
 * Gives a plan its schedule. It comes with fingerprints, and without marks and regions; `viewed` are the ids of operators
 * whose results people asked for.
 */
export type ScheduleCompiled = (
  plan: PhysicalPlan,
  viewed: ReadonlySet<string>,
) => PhysicalPlan | Promise<PhysicalPlan>;

/** How long the search for a schedule may be. States end it, the same on every machine (P3); the clock is a last resort. */
const SCHEDULE_STATES = 2_000;
const SCHEDULE_WITHIN_MS = 2_000;

const shortSearch: ScheduleCompiled = (plan, viewed) =>
  schedulePlan(plan, {
    viewResult: (id) => viewed.has(id),
    cost: "ports",
    maxStates: SCHEDULE_STATES,
    deadlineMs: SCHEDULE_WITHIN_MS,
  }).plan;

/** What compiling has found out about one operator. */
interface Bound {
  implementation: Implementation;
  /** Of each output port. */
  schemas: Schema[];
  ordering: Ordering | undefined;
  nondeterminism: string | undefined;
}

/** Compiles a plan; findings are data, and an error is only what is no fault of the plan. */
export async function compile(plan: LogicalPlan, deps: CompileDeps): Promise<Compilation> {
  const findings = planFindings();
  const drawing = readDrawing(plan, findings);
  const datasets = await resolveDatasets(drawing, deps.resolveDataset, findings);
  const bound = new Map<string, Bound>();
  for (const operator of drawing) {
    deps.signal?.throwIfAborted();
    if (findings.isBroken(operator.id)) continue;
    const inputs = operator.feeds.map((link) => (link ? inputOf(link, bound) : undefined));
    if (!inputs.every((input) => input !== undefined)) continue;
    const result = await bindOperator(operator, inputs, datasets, deps, findings);
    if (result !== undefined && !findings.isBroken(operator.id)) bound.set(operator.id, result);
  }
  if (findings.hasErrors()) return { ok: false, diagnostics: findings.list() };
  const viewed = new Set(drawing.filter(({ viewResult }) => viewResult).map(({ id }) => id));
  const physical = await (deps.schedule ?? shortSearch)(assemble(drawing, bound), viewed);
  return { ok: true, plan: physical, planDigest: deps.planDigest(physical), diagnostics: findings.list() };
}

/** What arrives at an input port. */
interface Input {
  schema: Schema;
  ordering: Ordering | undefined;
}

function inputOf({ from, fromPort }: LogicalLink, bound: ReadonlyMap<string, Bound>): Input | undefined {
  const source = bound.get(from);
  return source && { schema: source.schemas[fromPort]!, ordering: source.ordering };
}

async function bindOperator(
  { id, instance }: DrawnOperator,
  inputs: readonly Input[],
  datasets: ReadonlyMap<string, FoundDataset | undefined>,
  deps: CompileDeps,
  findings: PlanFindings,
): Promise<Bound | undefined> {
  const schemas = inputs.map(({ schema }) => schema);
  const orderings = inputs.map(({ ordering }) => ordering);
  const { body } = instance;
  findings.operator(id, ...missingColumns(instance.columns, schemas), ...instance.check(schemas));
  if (findings.isBroken(id)) return undefined;
  const chance = instance.nondeterminism(orderings);
  const common = { ordering: instance.ordering(orderings, schemas), nondeterminism: chance };
  switch (body.kind) {
    case "scan": {
      const found = datasets.get(body.reference);
      if (found === undefined) return undefined;
      const { malformedRowCount = 0n, ...scan } = found;
      if (malformedRowCount > 0n && body.rows.malformedRows === "fail")
        findings.warning(id, { property: "malformedRows", message: malformedRows(found, malformedRowCount) });
      const columns = body.columns ?? scan.fileSchema.map(({ name }) => name);
      findings.operator(
        id,
        ...missingColumns(
          columns.map((column, i) => ({ path: `columns.${i}`, input: 0, column })),
          [scan.fileSchema],
        ),
      );
      const schema = columns.flatMap((name) => findColumn(scan.fileSchema, name) ?? []);
      const implementation: Implementation = { kind: "scan", scan: { ...scan, ...body.rows } };
      return { ...common, implementation, schemas: [schema] };
    }
    case "user-function": {
      const { userFunction } = body;
      return {
        ...common,
        implementation: { kind: "user-function", userFunction },
        schemas: body.outputSchemas(schemas),
      };
    }
    case "query": {
      if (chance !== undefined) findings.warning(id, { property: "", message: chance });
      const results = [];
      const selects = [body.sql(schemas, orderings)].flat();
      for (const sql of selects) {
        // What an author wrote is checked once, with the first port.
        const { expressions, statements } = results.length === 0 ? instance : { expressions: [], statements: [] };
        const result = await deps.bindSchemas({ inputs: schemas, expressions, statements, sql }, deps.signal);
        if (!result.ok) {
          findings.operator(id, ...result.findings);
          return undefined;
        }
        if (result.nondeterminism !== undefined && selects.length > 1) {
          const message = `${result.nondeterminism} Outputs are computed one by one, so a row could leave by several of them or by none; compute the value in a derive before this operator.`;
          findings.operator(id, { property: instance.expressions[0]?.path ?? "", message });
          return undefined;
        }
        results.push(result);
      }
      const [first, ...further] = results;
      return {
        ...common,
        implementation: { kind: "query", sql: first!.sql, furtherSql: further.map(({ sql }) => sql) },
        schemas: results.map(({ schema }) => schema),
        nondeterminism: chance ?? results.find(({ nondeterminism }) => nondeterminism !== undefined)?.nondeterminism,
      };
    }
  }
}

const malformedRows = ({ datasetName, version }: DatasetScan, count: bigint): string =>
  `${count} ${count === 1n ? "row" : "rows"} of dataset ${JSON.stringify(datasetName)}, version ${version}, ${count === 1n ? "does" : "do"} not fit its columns, and a run that comes to one fails; "skip" leaves them out.`;

/** Every dataset the scans name, each asked for once. */
async function resolveDatasets(
  drawing: readonly DrawnOperator[],
  resolveDataset: CompileDeps["resolveDataset"],
  findings: PlanFindings,
): Promise<Map<string, FoundDataset | undefined>> {
  const found = new Map<string, FoundDataset | undefined>();
  for (const { id, instance } of drawing) {
    if (instance.body.kind !== "scan") continue;
    const { reference } = instance.body;
    const shown = JSON.stringify(reference);
    if (parseDatasetReference(reference, "project") === undefined) {
      const message = `${shown} names no dataset; write "name", "name@3" or "project/name@3".`;
      findings.operator(id, { property: "dataset", message });
      continue;
    }
    if (!found.has(reference)) found.set(reference, await resolveDataset(reference));
    if (found.get(reference) === undefined)
      findings.operator(id, {
        property: "dataset",
        message: `There is no dataset ${shown}, or you may not read it; list the datasets you may read, or register it.`,
      });
  }
  return found;
}

function missingColumns(
  columns: readonly { path: string; input: number; column: string }[],
  schemas: readonly Schema[],
): Finding[] {
  return columns.flatMap(({ path, input, column }) => {
    const schema = schemas[input]!;
    return findColumn(schema, column) ? [] : [{ property: path, message: noColumn(column, schema) }];
  });
}

const portKey = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});

function assemble(drawing: readonly DrawnOperator[], bound: ReadonlyMap<string, Bound>): PhysicalPlan {
  const operators = drawing.map((drawn) => physicalOperator(drawn, bound));
  const drawnLinks = drawing.flatMap(({ id, feeds }) =>
    feeds.map((link, port) => {
      const { from, fromPort } = link!;
      return {
        id: `${from}.${fromPort}-${id}.${port}`,
        from: portKey(from, fromPort, false),
        to: portKey(id, port, true),
      };
    }),
  );
  const links = drawnLinks.map((link) => ({ ...link, materialized: false, why: "", mustMaterialize: false }));
  return withFingerprints({ format: PLAN_FORMAT, operators, links, regions: [] });
}

function physicalOperator(
  { id, type, displayName, properties, instance, feeds }: DrawnOperator,
  bound: ReadonlyMap<string, Bound>,
): PhysicalOperator {
  const { implementation, schemas, nondeterminism } = bound.get(id)!;
  return {
    operatorId: id,
    layer: "main",
    type,
    properties,
    displayName: displayName || id,
    inputs: feeds.map((link, port) => {
      const input = inputOf(link!, bound)!.schema;
      return {
        key: portKey(id, port, true),
        schema: input,
        dependsOn: instance.dependsOn(port).map((other) => portKey(id, other, true)),
        manyLinks: false,
        partition: instance.partition(port, input),
      };
    }),
    outputs: schemas.map((schema, port) => ({
      key: portKey(id, port, false),
      schema,
      blocking: instance.blocking,
      mode: instance.mode,
      materialized: false,
      viewed: false,
      subdagHash: "",
      uncacheableReason: nondeterminism ?? "",
    })),
    implementation,
  };
}
