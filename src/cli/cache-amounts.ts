// Durations and sizes of the cache policy, as people write them.
import { InvalidArgumentError } from "commander";

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };
const BYTES: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** The longest duration a server takes: a hundred years. */
const MOST_DAYS = 36_500;

/** "90s", "30m", "12h", "7d" as seconds; "never" as 0. */
export function secondsOf(text: string): bigint {
  if (text === "never") return 0n;
  const seconds =
    amount(text, SECONDS) ?? refuse('Write a number with s, m, h or d behind it, for example 7d, or "never".');
  if (seconds > BigInt(MOST_DAYS * SECONDS.d!)) refuse(`Write ${MOST_DAYS}d at most, or "never".`);
  return seconds;
}

/** "500MiB", "10GiB" as bytes; "none" as 0. */
export function bytesOf(text: string): bigint {
  if (text === "none") return 0n;
  return (
    amount(text, BYTES) ??
    refuse('Write a number with B, KiB, MiB, GiB or TiB behind it, for example 10GiB, or "none".')
  );
}

/** At least 1: nought would mean that there is no limit. */
function amount(text: string, units: Record<string, number>): bigint | undefined {
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,3})?) ?([A-Za-z]+)$/.exec(text) ?? [];
  if (unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  const whole = Math.round(Number(number) * units[unit]!);
  return whole >= 1 && Number.isSafeInteger(whole) ? BigInt(whole) : undefined;
}

function refuse(message: string): never {
  throw new InvalidArgumentError(message);
}

/** 604800 → "7 d": the largest unit that leaves a whole number. */
export function secondsText(seconds: bigint): string {
  if (seconds === 0n) return "never";
  const unit = (["d", "h", "m"] as const).find((u) => seconds % BigInt(SECONDS[u]!) === 0n) ?? "s";
  return `${seconds / BigInt(SECONDS[unit]!)} ${unit}`;
}
