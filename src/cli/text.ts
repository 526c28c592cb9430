// Text for terminals: colours, widths, and nothing that user data could do to the terminal itself.
import type { Output, Terminal } from "./terminal.js";

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;
export type Colour = keyof typeof CODES;
export type Paint = (colour: Colour, text: string) => string;

export const plain: Paint = (_, text) => text;
const coloured: Paint = (colour, text) => `\x1b[${CODES[colour][0]}m${text}\x1b[${CODES[colour][1]}m`;

/** Colours on a terminal, unless NO_COLOR or TERM=dumb says otherwise. */
export function paintFor(output: Output, env: Terminal["env"]): Paint {
  return output.isTTY && !env.NO_COLOR && env.TERM !== "dumb" ? coloured : plain;
}

const NAMED: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Shows control characters instead of obeying them: data and user code must not steer the reader's terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => {
    return NAMED[character] ?? `\\u${character.codePointAt(0)!.toString(16).padStart(4, "0")}`;
  });
}

/** Columns the text takes; East Asian wide characters and emoji count two, combining marks none. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += widthOfCharacter(character);
  return width;
}

function widthOfCharacter(character: string): number {
  if (/^[\p{Mn}\p{Me}\p{Cf}]$/u.test(character)) return 0;
  const code = character.codePointAt(0)!;
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
}

/** Cuts text to a width, with an ellipsis when something is lost. */
export function truncate(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let [kept, used] = ["", 0];
  for (const character of text) {
    used += widthOfCharacter(character);
    if (used > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

export const padEnd = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - widthOf(text)));
export const padStart = (text: string, width: number): string => " ".repeat(Math.max(0, width - widthOf(text))) + text;

/** 1234567 → "1,234,567", in every locale. */
export const count = (value: bigint | number): string => value.toString().replace(/\B(?=(\d{3})+$)/g, ",");

/** "1 row", "2 rows". */
export const counted = (value: bigint | number, noun: string): string =>
  `${count(value)} ${noun}${BigInt(value) === 1n ? "" : "s"}`;

/** 1536 → "1.5 KiB". */
export function bytes(value: bigint | number): string {
  let amount = Number(value);
  if (amount < 1024) return `${amount} B`;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    amount /= 1024;
    if (amount < 1023.95) return `${amount.toFixed(1)} ${unit}`;
  }
  return `${(amount / 1024).toFixed(1)} TiB`;
}

/** Milliseconds as "0.4 s", "1 m 05 s" or "2 h 03 m". */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value: number) => `${value}`.padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
}

/** 2026-01-31 12:34:56 in UTC; empty when there is none. */
export const instant = (date: Date | undefined): string =>
  date ? date.toISOString().slice(0, 19).replace("T", " ") : "";
