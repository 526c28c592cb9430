// Stored workflows: put, list, show.
import type { Command } from "commander";
import { Workflow, WorkflowVersion } from "../contract/postern/v1/workflow.js";
import type { Api } from "./api.js";
import { type Cli, examples, wholeNumber, withServer } from "./command.js";
import { print, printEither } from "./output.js";
import { allPages } from "./pages.js";
import { instant } from "./text.js";
import { readWorkflowFile } from "./workflow-file.js";

export function addWorkflowCommands(program: Command, cli: Cli): void {
  const { terminal } = cli;
  const workflow = program.command("workflow").description("stored workflows and their versions");
  workflow.addHelpText("after", examples("postern workflow list", "postern workflow put examples/flights-delays.json"));
  workflow
    .command("put <file>")
    .description("store a workflow file as the next version")
    .option("--workflow <id>", "the workflow's id (default: the file's name)")
    .option("--comment <text>", "what changed", "")
    .addHelpText("after", examples("postern workflow put examples/flights-delays.json --comment 'only large airports'"))
    .action(
      withServer<{ workflow?: string; comment: string }, [string]>(cli, async (api, options, path) => {
        const file = await readWorkflowFile(path, terminal.cwd);
        const { version, created } = await putWorkflow(api, {
          workflowId: options.workflow ?? file.workflowId,
          plan: file.plan,
          comment: options.comment,
        });
        printEither(
          terminal,
          options,
          () => ({ version: WorkflowVersion.toJSON(version), created }),
          () => `${version.workflowId} version ${version.version} ${created ? "stored" : "was stored already"}`,
        );
      }),
    );
  workflow
    .command("list [workflow]")
    .description("list the workflows of the project, or the versions of one")
    .addHelpText("after", examples("postern workflow list", "postern workflow list flights-delays --json"))
    .action(
      withServer<object, [string | undefined]>(cli, async (api, options, workflowId) => {
        const projectId = api.connection.project();
        if (workflowId === undefined) {
          const workflows = await allPages(async (pageToken) => {
            const reply = await api.call(api.workflows, "listWorkflows", { projectId, pageSize: 500, pageToken });
            return { items: reply.workflows, nextPageToken: reply.nextPageToken };
          });
          return printEither(
            terminal,
            options,
            () => ({ workflows: workflows.map(Workflow.toJSON) }),
            () =>
              workflows.length === 0
                ? "No workflows yet: store one with `postern workflow put FILE`, or run a file with `postern run FILE`."
                : {
                    head: ["WORKFLOW", "VERSION", "PUBLIC", "MADE BY", "MADE AT (UTC)"],
                    right: [false, true],
                    rows: workflows.map((w) => [
                      w.id,
                      `${w.latestVersion}`,
                      w.public ? "yes" : "no",
                      w.createdBy,
                      instant(w.createdAt),
                    ]),
                  },
          );
        }
        const versions = await allPages(async (pageToken) => {
          const request = { projectId, workflowId, pageSize: 500, pageToken };
          const reply = await api.call(api.workflows, "listWorkflowVersions", request);
          return { items: reply.versions, nextPageToken: reply.nextPageToken };
        });
        printEither(
          terminal,
          options,
          () => ({ versions: versions.map(WorkflowVersion.toJSON) }),
          () => ({
            head: ["VERSION", "DIGEST", "MADE BY", "MADE AT (UTC)", "COMMENT"],
            right: [true],
            rows: versions.map((v) => [
              `${v.version}`,
              v.digest.slice(0, 12),
              v.createdBy,
              instant(v.createdAt),
              v.comment,
            ]),
          }),
        );
      }),
    );
  workflow
    .command("show <workflow>")
    .description("print the workflow as a file again")
    .option("--version <n>", "which version (default: the newest)", wholeNumber(1))
    .addHelpText("after", examples("postern workflow show flights-delays --version 2 > flights-delays.json"))
    .action(
      withServer<{ version?: number }, [string]>(cli, async (api, options, workflowId) => {
        const request = { projectId: api.connection.project(), workflowId, version: options.version ?? 0 };
        const { version } = await api.call(api.workflows, "getWorkflowVersion", request);
        const document = version ? WorkflowVersion.toJSON(version) : {};
        const { plan } = document as { plan?: unknown };
        print(terminal, JSON.stringify(options.json ? { version: document } : (plan ?? {}), undefined, 2));
      }),
    );
}

/** Stores a plan as the next version, or finds the newest one that is equal. */
export async function putWorkflow(
  api: Api,
  { workflowId, plan, comment }: { workflowId: string; plan: NonNullable<WorkflowVersion["plan"]>; comment: string },
): Promise<{ version: WorkflowVersion; created: boolean }> {
  const projectId = api.connection.project();
  const request = { requestId: "", projectId, workflowId, plan, comment };
  const { version, created } = await api.call(api.workflows, "putWorkflow", request);
  return { version: version ?? WorkflowVersion.create({ workflowId }), created };
}
