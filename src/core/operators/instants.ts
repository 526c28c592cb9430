// Instants as authors write them: ISO 8601, a day or a day with a time of it; UTC, unless an offset says otherwise.

const INSTANT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(\.\d{1,6})?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$/i;
const OFFSET = /^([+-])(\d\d):?(\d\d)?$/;

/** The text as `2024-01-31 08:30:00.5` in UTC; undefined when it is no instant of the years 0 to 9999. */
export function utcOf(text: string): string | undefined {
  const [, day, minutes = "00:00", seconds = "00", fraction = "", zone = "Z"] = INSTANT.exec(text) ?? [];
  if (day === undefined) return undefined;
  const local = new Date(`${day}T${minutes}:${seconds}Z`);
  // Date makes the 30th of February a day in March.
  if (Number.isNaN(local.getTime()) || !local.toISOString().startsWith(`${day}T${minutes}:${seconds}`))
    return undefined;
  const [, sign, hours = "0", rest = "0"] = OFFSET.exec(zone) ?? [];
  if (Number(hours) > 15 || Number(rest) > 59) return undefined;
  const offsetMs = (Number(hours) * 60 + Number(rest)) * 60_000 * (sign === "-" ? -1 : 1);
  const utc = new Date(local.getTime() - offsetMs).toISOString();
  // Further years are written with a sign and six digits.
  return /^\d{4}-/.test(utc) ? `${utc.slice(0, 10)} ${utc.slice(11, 19)}${fraction}` : undefined;
}
