// How a run uses the cache: the options of `postern run`, and the line that says afterwards what came of it.
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  CacheMode,
  type CacheUse,
  type Execution,
  type GetExecutionResponse,
  type PortReuse,
} from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import { listNames } from "../core/names.js";
import { counted, duration, printable } from "./text.js";

export interface CacheOptions {
  cache?: Mode;
  cacheOperator?: Record<string, CacheMode>;
}

const MODES = {
  use: CacheMode.CACHE_MODE_USE,
  refresh: CacheMode.CACHE_MODE_REFRESH,
  skip: CacheMode.CACHE_MODE_SKIP,
  "read-only": CacheMode.CACHE_MODE_READ_ONLY,
};
type Mode = keyof typeof MODES;

export const withCacheOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        "--cache <mode>",
        "use: reuse and remember results (default); refresh: compute anew and remember; skip: neither; read-only: reuse, remember nothing",
      ).choices(Object.keys(MODES)),
    )
    .option("--cache-operator <operator=mode>", "another mode for one operator; may be repeated", operatorMode);

function operatorMode(value: string, former: CacheOptions["cacheOperator"]): Record<string, CacheMode> {
  const [, operator, mode] = /^(.+)=([^=]*)$/.exec(value) ?? [];
  if (operator === undefined || !Object.hasOwn(MODES, mode!))
    throw new InvalidArgumentError(`Write OPERATOR=MODE, the mode one of ${listNames(Object.keys(MODES))}.`);
  if (former !== undefined && Object.hasOwn(former, operator))
    throw new InvalidArgumentError(`${JSON.stringify(operator)} has a mode already: name each operator once.`);
  return { ...former, [operator]: MODES[mode as Mode] };
}

/** What the options ask for; undefined leaves it to the server. */
export function cacheUseOf({ cache, cacheOperator }: CacheOptions): CacheUse | undefined {
  if (cache === undefined && cacheOperator === undefined) return undefined;
  return {
    mode: cache === undefined ? CacheMode.CACHE_MODE_UNSPECIFIED : MODES[cache],
    operators: cacheOperator ?? {},
  };
}

/** The server's refusal in the words of the options: it names the operators of the request's field. */
export function inOptionWords(error: unknown): unknown {
  const field = "cache.operators names";
  if (!(error instanceof AppError) || !error.message.startsWith(field)) return error;
  const message = `--cache-operator names${error.message.slice(field.length)}`;
  return new AppError(error.code, error.reason, message, { cause: error });
}

/** "3 of 4 regions reused, 12.4 s saved", or why nothing was; undefined when the server tells nothing. */
export function reuseLine(
  { reuse }: Pick<Execution, "reuse">,
  ports: GetExecutionResponse["reuse"],
  asked: CacheOptions = {},
): string | undefined {
  if (reuse === undefined) return undefined;
  const { regions, regionsReused, portsReused, savedMs } = reuse;
  const saved = `${duration(Number(savedMs))} saved`;
  if (regionsReused > 0) return `${regionsReused} of ${counted(regions, "region")} reused, ${saved}`;
  if (portsReused > 0) return `${counted(portsReused, "result")} reused, no region whole; ${saved}`;
  return `Nothing was reused.${asToldBy(asked) ?? whyNot(ports)}`;
}

const REUSES = new Set([CacheMode.CACHE_MODE_USE, CacheMode.CACHE_MODE_READ_ONLY]);

/** What the run was told not to reuse: then the cache is not to blame. Undefined when it was free to reuse everything. */
function asToldBy({ cache = "use", cacheOperator = {} }: CacheOptions): string | undefined {
  const isFree = REUSES.has(MODES[cache]);
  const others = Object.keys(cacheOperator).filter((id) => REUSES.has(cacheOperator[id]!) !== isFree);
  const names = printable(listNames(others));
  if (isFree && others.length === 0) return undefined;
  if (isFree) return ` The run was told not to reuse results of ${names} (--cache-operator).`;
  const told = cache === "refresh" ? "compute everything anew" : "leave the cache alone";
  const but = others.length === 0 ? "" : `, but for ${names}`;
  return ` The run was told to ${told}${but} (--cache ${cache}).`;
}

/** What was computed and is remembered now was not there before; how it went afterwards is no reason. */
const beforeIt = (reason: string): string =>
  reason.startsWith("It was computed") || reason.startsWith("It was not computed")
    ? "The cache did not have it."
    : reason;

/** The reason most ports have, in the server's words, which speak of one port. */
function whyNot(ports: readonly PortReuse[]): string {
  const counts = new Map<string, number>();
  for (const { reason } of ports) if (reason) counts.set(beforeIt(reason), (counts.get(beforeIt(reason)) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  if (most === undefined) return "";
  const [reason, many] = most;
  const which = many < ports.length ? `${many} of ${ports.length} results` : counted(many, "result");
  return ` The server says of ${which}: ${printable(reason)}`;
}
