// The server a command talks to, and as whom: options first, then the environment, then what `postern dev` left in its
// directory.
import { readFile } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { AppError, invalid } from "../core/app-error.js";
import { readClientFile } from "../dev/client-file.js";
import type { ServerAddress } from "../rpc/channel.js";
import type { Terminal } from "./terminal.js";

/** Options every command takes. */
export interface GlobalOptions {
  server?: string;
  tokenFile?: string;
  project?: string;
  computingUnit?: string;
  dir?: string;
  tlsCa?: string;
  json?: boolean;
}

export const DEFAULT_DIR = join(".postern", "dev");

/** Where things are; each throws a sentence that says what to do when it is not known. */
export interface Connection {
  address: ServerAddress;
  /** The user token, read anew each time; undefined when none is configured. */
  token(): Promise<string | undefined>;
  project(): string;
  computingUnit(): string;
}

/** The development directory the options mean, as an absolute path. */
export const directoryOf = (options: GlobalOptions, { env, cwd }: Terminal): string =>
  resolve(cwd, options.dir ?? env.POSTERN_DIR ?? DEFAULT_DIR);

export async function findConnection(options: GlobalOptions, terminal: Terminal): Promise<Connection> {
  const { env, cwd } = terminal;
  const dir = directoryOf(options, terminal);
  const file = await readClientFile(dir);
  const server = options.server ?? env.POSTERN_SERVER ?? file?.server;
  if (!server)
    throw new AppError(
      "unavailable",
      "NO_SERVER",
      `No server is known: start one with \`postern dev\`, or name one with --server HOST:PORT or POSTERN_SERVER. (There is no client.json in ${dir}.)`,
    );
  const tokenFile = options.tokenFile ?? env.POSTERN_TOKEN_FILE ?? (env.POSTERN_TOKEN ? undefined : file?.tokenFile);
  return {
    address: { address: hostAndPort(server), ...tlsOf(options, env) },
    token: async () =>
      tokenFile ? readToken(isAbsolute(tokenFile) ? tokenFile : join(cwd, tokenFile)) : env.POSTERN_TOKEN,
    project: () => require("project", "--project", options.project ?? env.POSTERN_PROJECT ?? file?.project),
    computingUnit: () =>
      require("computing unit", "--computing-unit", options.computingUnit ??
        env.POSTERN_COMPUTING_UNIT ??
        file?.computingUnit),
  };
}

function require(what: string, option: string, value: string | undefined): string {
  if (value) return value;
  const variable = `POSTERN_${option.slice(2).toUpperCase().replace("-", "_")}`;
  throw invalid(`No ${what} is named: use ${option} or ${variable}.`);
}

function hostAndPort(server: string): string {
  if (/^(\[[0-9a-fA-F:.]+\]|[^:/\s]+):\d{1,5}$/.test(server)) return server;
  throw invalid(`${JSON.stringify(server)} is no server address: write HOST:PORT, for example 127.0.0.1:7700.`);
}

function tlsOf(options: GlobalOptions, env: Terminal["env"]): Pick<ServerAddress, "tls"> {
  const caFile = options.tlsCa ?? env.POSTERN_TLS_CA_FILE;
  const certFile = env.POSTERN_TLS_CERT_FILE;
  const keyFile = env.POSTERN_TLS_KEY_FILE;
  return caFile || certFile || keyFile ? { tls: { caFile, certFile, keyFile } } : {};
}

async function readToken(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalid(`The token file ${path} cannot be read (${code}): name another with --token-file.`, error);
  }
}
