// Timestamps as ISO 8601 text in UTC, with up to microseconds, and back.

const FORM =
  /^([+-]?\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?$/i;

const POSITIVE_INFINITY = 2n ** 63n - 1n;

const FIRST_MICROS = -9_223_372_022_400_000_000n; // the year -290308, where DuckDB's timestamps begin

/** Whether a number of microseconds is a time that can be stored; both infinities are. */
export const isMicros = (micros: bigint): boolean => micros >= FIRST_MICROS || micros === -POSITIVE_INFINITY;

/** `2026-01-31T12:00:00.123+00:00`: no fraction, three digits or six, as both languages' parsers take them. */
export function formatMicros(micros: bigint): string {
  if (micros >= POSITIVE_INFINITY) return "infinity";
  if (micros <= -POSITIVE_INFINITY) return "-infinity";
  const fraction = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const date = new Date(Number((micros - fraction) / 1000n));
  if (Number.isNaN(date.getTime())) return micros > 0n ? "infinity" : "-infinity";
  const seconds = date.toISOString().replace(/\.000Z$/, "");
  if (fraction === 0n) return `${seconds}+00:00`;
  const digits = String(fraction).padStart(6, "0");
  return `${seconds}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}+00:00`;
}

/** Microseconds since 1970; a text without an offset is UTC. Undefined when it is no timestamp. */
export function parseMicros(text: string): bigint | undefined {
  if (text === "infinity") return POSITIVE_INFINITY;
  if (text === "-infinity") return -POSITIVE_INFINITY;
  const m = FORM.exec(text.trim());
  if (!m) return undefined;
  const [year, month, day, hour, minute, second] = m.slice(1, 7).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  // The 31st of February would have become a day of March.
  if (Number.isNaN(date.getTime()) || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const fraction = BigInt((m[7] ?? "").padEnd(6, "0").slice(0, 6));
  const micros = BigInt(date.getTime()) * 1000n + fraction - offsetMicros(m[8]);
  return micros < POSITIVE_INFINITY && micros > -POSITIVE_INFINITY ? micros : undefined;
}

function offsetMicros(offset: string | undefined): bigint {
  if (!offset || /^z$/i.test(offset)) return 0n;
  const [, sign, hours, minutes = "0"] = /^([+-])(\d\d):?(\d\d)?$/.exec(offset)!;
  const size = BigInt(Number(hours) * 60 + Number(minutes)) * 60_000_000n;
  return sign === "-" ? -size : size;
}
