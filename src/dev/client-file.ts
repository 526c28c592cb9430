// client.json: how the command line finds the server that `postern dev` runs in a directory.
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../core/app-error.js";
import { writeSecret } from "./secret-file.js";

export interface ClientFile {
  /** host:port. */
  server: string;
  /** A user token is in here. */
  tokenFile: string;
  project: string;
  computingUnit: string;
}

export const clientFileOf = (dir: string): string => join(dir, "client.json");

export async function writeClientFile(dir: string, content: ClientFile): Promise<void> {
  await writeSecret(clientFileOf(dir), `${JSON.stringify(content, undefined, 2)}\n`);
}

export async function removeClientFile(dir: string): Promise<void> {
  await rm(clientFileOf(dir), { force: true });
}

/** Undefined when no `dev` has written one. */
export async function readClientFile(dir: string): Promise<ClientFile | undefined> {
  const path = clientFileOf(dir);
  try {
    const content = JSON.parse(await readFile(path, "utf8")) as Partial<ClientFile>;
    const { server = "", tokenFile = "", project = "", computingUnit = "" } = content;
    return { server, tokenFile, project, computingUnit };
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw new AppError(
      "invalid",
      "CLIENT_FILE_UNREADABLE",
      `${path} cannot be read: remove it and start \`postern dev\` again.`,
      { cause: error },
    );
  }
}
