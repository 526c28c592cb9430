// Everything the server reads from its environment, once, at start.
import { isAbsolute } from "node:path";
import { fileURLToPath } from "node:url";
import { invalid } from "../core/app-error.js";
import { environment, readable } from "../process/env.js";
import { OWN_ISSUER } from "./access/tokens.js";
import { isLoopback, parseListenAddress } from "./endpoint/listen-address.js";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export interface ServerConfig {
  /** `host:port`; port 0 lets the system choose. */
  listen: string;
  /** For example `postgres://user@/db?host=/socket/dir&port=5432`. */
  databaseUrl: string;
  databasePasswordFile: string | undefined;
  databasePoolSize: number;
  /** PKCS8 PEM, Ed25519 or EC P-256: signs execution and serve tokens. */
  executionKeyFile: string;
  /** Whose user tokens are accepted, and for which audience. */
  issuer: string;
  audience: string;
  /** Where the issuer's public keys are: https, a file, or http on loopback. */
  jwksUrl: URL;
  /** `file:///absolute/directory`, without a slash at the end: results lie below. */
  resultRoot: string;
  /** Absolute directories whose files may be registered as datasets where they lie. */
  datasetRoots: string[];
  /** Undefined: in the clear. With `clientCaFile` clients must show a certificate. */
  tls: { certFile: string; keyFile: string; clientCaFile: string | undefined } | undefined;
  /** Listen beyond loopback without TLS, for instance behind a proxy that ends it. */
  allowPlaintext: boolean;
  /** How long an executor's lease lasts without a heartbeat. */
  leaseMs: number;
  /** How long an executor that was given an execution may take to attach. */
  attachWithinMs: number;
  /** How long an executor may take to end after each order to stop: CANCEL, then KILL, then the server ends it. */
  cancelGraceMs: number;
  executionTokenSeconds: number;
  serveTokenSeconds: number;
  /** An executor's stream is renewed after about this long, before a proxy's limit cuts it. */
  rotateStreamsMs: number;
  /** A watcher's right is asked for again after about this long. */
  watchRightMs: number;
  /** How often an execution is tried before LOST makes it FAILED. */
  maxAttempts: number;
  maxUploadBytes: number;
  /** How long a stored object stays after the last port, console or cache entry that named it has gone. */
  sweepGraceMs: number;
  logLevel: (typeof LOG_LEVELS)[number];
}

export function readServerConfig(variables: NodeJS.ProcessEnv = process.env): ServerConfig {
  const env = environment(variables);
  const listen = env.text("POSTERN_LISTEN", "127.0.0.1:7700");
  parseListenAddress(listen);
  return {
    listen,
    databaseUrl: databaseUrl(env.text("POSTERN_DATABASE_URL")),
    databasePasswordFile: env.optionalSecretFile("POSTERN_DATABASE_PASSWORD_FILE"),
    databasePoolSize: env.integer("POSTERN_DATABASE_POOL_SIZE", { defaultTo: 10, min: 1, max: 1_000 }),
    executionKeyFile: env.secretFile("POSTERN_EXECUTION_KEY_FILE"),
    issuer: issuer(env.text("POSTERN_ISSUER")),
    audience: env.text("POSTERN_AUDIENCE"),
    jwksUrl: jwksUrl(env.text("POSTERN_JWKS_URL")),
    resultRoot: resultRoot(env.text("POSTERN_RESULT_ROOT")),
    datasetRoots: datasetRoots(env.optionalText("POSTERN_DATASET_ROOTS")),
    tls: tls(
      env.optionalFile("POSTERN_TLS_CERT_FILE"),
      env.optionalSecretFile("POSTERN_TLS_KEY_FILE"),
      env.optionalFile("POSTERN_TLS_CLIENT_CA_FILE"),
    ),
    allowPlaintext: env.flag("POSTERN_ALLOW_PLAINTEXT"),
    leaseMs: env.integer("POSTERN_LEASE_MS", { defaultTo: 15_000, min: 300, max: 3_600_000 }),
    attachWithinMs: env.integer("POSTERN_ATTACH_WITHIN_MS", { defaultTo: 5_000, min: 100, max: 3_600_000 }),
    cancelGraceMs: env.integer("POSTERN_CANCEL_GRACE_MS", { defaultTo: 10_000, min: 100, max: 3_600_000 }),
    executionTokenSeconds: env.integer("POSTERN_EXECUTION_TOKEN_SECONDS", { defaultTo: 600, min: 1, max: 86_400 }),
    serveTokenSeconds: env.integer("POSTERN_SERVE_TOKEN_SECONDS", { defaultTo: 3_600, min: 1, max: 31_536_000 }),
    rotateStreamsMs: env.integer("POSTERN_ROTATE_STREAMS_MS", { defaultTo: 1_800_000, min: 1_000, max: 86_400_000 }),
    watchRightMs: env.integer("POSTERN_WATCH_RIGHT_MS", { defaultTo: 60_000, min: 1_000, max: 3_600_000 }),
    maxAttempts: env.integer("POSTERN_MAX_ATTEMPTS", { defaultTo: 3, min: 1, max: 1_000 }),
    maxUploadBytes: env.integer("POSTERN_MAX_UPLOAD_BYTES", { defaultTo: 10 * 1024 ** 3, min: 1 }),
    // A lookup under way may have found what has just lost its last name: no transaction lasts a minute.
    sweepGraceMs: env.integer("POSTERN_SWEEP_GRACE_MS", { defaultTo: 600_000, min: 60_000, max: 31_536_000_000 }),
    logLevel: env.oneOf("POSTERN_LOG_LEVEL", LOG_LEVELS, "info"),
  };
}

function databaseUrl(text: string): string {
  if (/^postgres(ql)?:\/\//.test(text)) return text;
  throw invalid("POSTERN_DATABASE_URL must start with postgres:// as in postgres://user@host:5432/database.");
}

function issuer(text: string): string {
  if (text !== OWN_ISSUER) return text;
  throw invalid(`POSTERN_ISSUER must not be "${OWN_ISSUER}": that is how this server signs its own tokens.`);
}

function jwksUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url.hostname))) return url;
  if (url?.protocol === "file:" && url.host === "") {
    readable("POSTERN_JWKS_URL", fileURLToPath(url));
    return url;
  }
  throw invalid(
    `POSTERN_JWKS_URL is ${JSON.stringify(text)}: it must be an https:// or file:// URL (http:// only for this machine).`,
  );
}

function resultRoot(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "file:" && url.host === "" && isAbsolute(fileURLToPath(url)))
    return url.href.replace(/\/+$/, "");
  throw invalid(`POSTERN_RESULT_ROOT is ${JSON.stringify(text)}: it must be a URL such as file:///var/lib/postern.`);
}

function datasetRoots(text = ""): string[] {
  const roots = text.split(":").filter((root) => root !== "");
  const relative = roots.find((root) => !isAbsolute(root));
  if (relative === undefined) return roots;
  throw invalid(`POSTERN_DATASET_ROOTS names ${JSON.stringify(relative)}: each directory must start with a slash.`);
}

function tls(certFile?: string, keyFile?: string, clientCaFile?: string): ServerConfig["tls"] {
  if (certFile && keyFile) return { certFile, keyFile, clientCaFile };
  if (certFile || keyFile)
    throw invalid(`TLS takes both: ${certFile ? "POSTERN_TLS_KEY_FILE" : "POSTERN_TLS_CERT_FILE"} is not set.`);
  if (clientCaFile)
    throw invalid("POSTERN_TLS_CLIENT_CA_FILE needs POSTERN_TLS_CERT_FILE and POSTERN_TLS_KEY_FILE beside it.");
  return undefined;
}
