// Workflow files: the JSON form of a logical plan, read strictly so that a misspelt field is told and not dropped.
import { readFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { z } from "zod";
import { LogicalPlan } from "../contract/postern/v1/plan.js";
import { AppError, invalid } from "../core/app-error.js";
import { isName } from "../core/ids.js";
import { isExportedWorkflow } from "../core/texera/exported-workflow.js";
import { parseJson } from "./json-text.js";

export interface WorkflowFile {
  /** The file's name without its extension, made fit for an id. */
  workflowId: string;
  plan: LogicalPlan;
}

const text = z.string();
const port = z.int().min(0);
const operator = z.strictObject({
  id: text,
  type: text,
  properties: z.record(z.string(), z.json()).optional(),
  displayName: text.optional(),
  disabled: z.boolean().optional(),
  viewResult: z.boolean().optional(),
});
const link = z.strictObject({ from: text, fromPort: port.optional(), to: text, toPort: port.optional() });
const planShape = z.strictObject({ operators: z.array(operator), links: z.array(link).optional() });

/** Reads a workflow file; its errors name file, line and column, or the field. */
export async function readWorkflowFile(path: string, cwd: string): Promise<WorkflowFile> {
  return { workflowId: workflowIdOf(path), plan: workflowPlan(await readJsonFile(path, cwd), path) };
}

/** Reads a file of JSON, of whatever kind of workflow. */
export async function readJsonFile(path: string, cwd: string): Promise<unknown> {
  const content = await readFile(resolve(cwd, path), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT")
      throw invalid(`There is no file ${path}: check the path, or name a stored workflow by its id.`);
    if (error.code === "EISDIR") throw invalid(`${path} is a directory: name a workflow file.`);
    throw invalid(`${path} cannot be read (${error.code}): check its permissions.`);
  });
  return parseJson(content, path);
}

/** Reads a workflow's text; `name` stands for it in errors. */
export const parseWorkflow = (content: string, name: string): LogicalPlan =>
  workflowPlan(parseJson(content, name), name);

/** The plan in a workflow's JSON; `name` stands for it in errors. */
export function workflowPlan(json: unknown, name: string): LogicalPlan {
  const shaped = planShape.safeParse(json);
  if (shaped.success) return LogicalPlan.fromJSON(shaped.data);
  if (isExportedWorkflow(json))
    throw new AppError(
      "invalid",
      "INVALID_WORKFLOW",
      `${name} was exported from Apache Texera: \`postern import texera\` turns it into a workflow that runs here, and \`postern plan\` shows how it would be scheduled there.`,
    );
  const [first, ...others] = shaped.error.issues;
  const where = first!.path.join(".") || "the file";
  const rest = others.length > 0 ? ` (and ${others.length} more)` : "";
  throw new AppError(
    "invalid",
    "INVALID_WORKFLOW",
    `${name} is no workflow: ${where}: ${first!.message}${rest}. See docs/workflows.md, or examples/ for one that works.`,
  );
}

/** A file's name without its extension, made fit for a workflow id. */
export function workflowIdOf(path: string): string {
  const name = basename(path, extname(path)).replace(/[^A-Za-z0-9_.-]+/g, "-");
  return isName(name) ? name : "workflow";
}

/** True when an argument means a file and not a stored workflow. */
export const meansFile = (argument: string): boolean => /[/\\]/.test(argument) || argument.endsWith(".json");
