// `postern token`: mint a development token, get a serve token for an executor, or look into a token.
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { invalid } from "../core/app-error.js";
import { withApi } from "./api.js";
import { type Cli, examples, optionsOf, wholeNumber } from "./command.js";
import { directoryOf, findConnection, type GlobalOptions } from "./connection.js";
import { print, printEither, printJson } from "./output.js";
import type { Terminal } from "./terminal.js";
import { duration } from "./text.js";

interface Options {
  subject?: string;
  scopes: string;
  ttl: number;
  serve?: boolean;
  inspect?: string | true;
}

const SCOPES = ["read", "write", "run", "admin"];
const DAY_SECONDS = 24 * 3600;

export function addTokenCommand(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("token")
    .description("mint a user token of the development issuer, get a serve token, or inspect a token")
    .option("--subject <name>", "who the token is for (default: the developer)")
    .option("--scopes <scopes>", "what it allows, separated by spaces or commas", SCOPES.join(" "))
    .option("--ttl <seconds>", "how long it is valid", wholeNumber(1, 366 * DAY_SECONDS), DAY_SECONDS)
    .option("--serve", "ask the server for a token by which an executor may serve --computing-unit")
    .option("--inspect [token]", "print the claims of a token, or of a file with one, or of your own")
    .addHelpText(
      "after",
      examples(
        "postern token --subject alice --scopes 'read run' --ttl 3600",
        "postern token --serve --computing-unit local > serve.token",
        "postern token --inspect serve.token",
      ),
    )
    .action(async (_, command: Command) => {
      const options = optionsOf<Options>(command);
      if (options.serve && options.inspect) throw invalid("Use either --serve or --inspect.");
      if (options.inspect) return inspectToken(options, options.inspect, terminal);
      const token = options.serve ? await serveToken(options, terminal) : await mintToken(options, terminal);
      if (options.json) printJson(terminal, token);
      else print(terminal, token.token);
    });
}

async function serveToken(options: GlobalOptions, terminal: Terminal) {
  return withApi(options, terminal, async (api) => {
    const request = { projectId: api.connection.project(), computingUnitId: api.connection.computingUnit() };
    const { token, expiresAt } = await api.call(api.access, "createServeToken", request);
    return { token, expiresAt: expiresAt?.toISOString() };
  });
}

async function mintToken(options: Options & GlobalOptions, terminal: Terminal) {
  const scopes = options.scopes.split(/[\s,]+/).filter(Boolean);
  const unknown = scopes.filter((scope) => !SCOPES.includes(scope));
  if (unknown.length > 0) throw invalid(`${unknown.join(", ")} is no scope: use ${SCOPES.join(", ")}.`);
  const { openDevelopmentIssuer, DEVELOPMENT_SUBJECT } = await import("../dev/development-issuer.js");
  const issuer = await openDevelopmentIssuer(directoryOf(options, terminal));
  const subject = options.subject ?? DEVELOPMENT_SUBJECT;
  const token = await issuer.mint({ subject, scopes, ttlSeconds: options.ttl });
  return { token, expiresAt: new Date(Date.now() + options.ttl * 1000).toISOString() };
}

/** Shows header and claims; the signature, which makes a token worth stealing, is never printed. */
async function inspectToken(options: GlobalOptions, what: string | true, terminal: Terminal): Promise<void> {
  const token = what === true ? await (await findConnection(options, terminal)).token() : await tokenOrFile(what);
  if (!token) throw invalid("There is no token to inspect: name one, or a file with one, after --inspect.");
  const { header, claims } = decode(token);
  printEither(
    terminal,
    options,
    () => ({ header, claims }),
    () => ({
      head: ["CLAIM", "VALUE"],
      rows: [
        ...Object.entries(header).map(([name, value]) => [`(${name})`, String(value)]),
        ...Object.entries(claims).map(([name, value]) => [name, claimText(name, value)]),
      ],
    }),
  );
}

async function tokenOrFile(text: string): Promise<string> {
  if (/^[\w-]+\.[\w-]+\.[\w-]*$/.test(text) && text.length > 60) return text;
  return (await readFile(text, "utf8").catch(() => text)).trim();
}

function decode(token: string) {
  try {
    return { header: decodeProtectedHeader(token), claims: decodeJwt(token) };
  } catch (error) {
    throw invalid("That is no token: a token is three parts of letters and digits, joined by dots.", error);
  }
}

function claimText(name: string, value: unknown): string {
  if (!["exp", "iat", "nbf"].includes(name) || typeof value !== "number")
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  const away = value * 1000 - Date.now();
  const when = away > 0 ? `in ${duration(away)}` : `${duration(-away)} ago`;
  return `${new Date(value * 1000).toISOString()} (${when})`;
}
