// Identifiers: branded strings, so that a workflow id cannot be passed for an execution id.
import { v7 } from "uuid";
import { invalid } from "./app-error.js";

declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

export type ProjectId = Id<"Project">;
export type WorkflowId = Id<"Workflow">;
export type ComputingUnitId = Id<"ComputingUnit">;
export type DatasetId = Id<"Dataset">;
export type ExecutionId = Id<"Execution">;

/** Letters, digits and `_ . -`, starting with a letter or digit: safe in paths, URIs and global port ids. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isName = (text: string): boolean => NAME.test(text);

function name<T extends string>(text: string, what: string): T {
  if (isName(text)) return text as T;
  throw invalid(
    text === ""
      ? `The ${what} is missing.`
      : `${JSON.stringify(text.slice(0, 140))} is no valid ${what}: use letters, digits, "_", "." and "-", starting with a letter or digit, at most 128 characters.`,
  );
}

export const projectId = (text: string): ProjectId => name(text, "project id");
export const workflowId = (text: string): WorkflowId => name(text, "workflow id");
export const computingUnitId = (text: string): ComputingUnitId => name(text, "computing unit id");
export const datasetName = (text: string): string => name(text, "dataset name");

export function executionId(text: string): ExecutionId {
  if (UUID.test(text)) return text as ExecutionId;
  throw invalid(
    text === "" ? "The execution id is missing." : `${JSON.stringify(text.slice(0, 80))} is no execution id.`,
  );
}

export function datasetId(text: string): DatasetId {
  if (UUID.test(text)) return text as DatasetId;
  throw invalid(text === "" ? "The dataset id is missing." : `${JSON.stringify(text.slice(0, 80))} is no dataset id.`);
}

/** UUIDv7: sorts by time of making. */
export const newExecutionId = (): ExecutionId => v7() as ExecutionId;
export const newDatasetId = (): DatasetId => v7() as DatasetId;
export const newId = (): string => v7();
