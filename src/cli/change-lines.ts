// A difference for people: on one line when it is short, else on two, each cut to the part that differs.
import { truncate, widthOf } from "./text.js";

/** What one line may take. */
const LINE_WIDTH = 60;
/** What is left of a long text. */
const PART_WIDTH = 48;
/** How much of what is equal is shown before the first difference. */
const SHOWN_BEFORE = 12;
/** How much must be equal for two places to be the same. */
const ALIKE = 30;

/** "where: before → after", broken before the arrow when that is long. */
export function changeLines(where: string, before: string, after: string): string[] {
  const whole = `${before} → ${after}`;
  if (widthOf(whole) <= LINE_WIDTH) return [`${where}: ${whole}`];
  const [was, is] = differingParts(before, after);
  return [`${where}: ${was}`, `  → ${is}`];
}

/** Both texts from shortly before their first difference on. */
function differingParts(before: string, after: string): [before: string, after: string] {
  const [wasStart, isStart] = [placeOf(after, before), placeOf(before, after)];
  let equal = 0;
  while (wasStart + equal < before.length && before[wasStart + equal] === after[isStart + equal]) equal++;
  const shared = Math.max(0, equal - SHOWN_BEFORE);
  return [partFrom(before, wasStart + shared), partFrom(after, isStart + shared)];
}

/** Where `text` goes on as `cut` begins: a server that shortens only one of two texts leaves away what both begin with. */
function placeOf(cut: string, text: string): number {
  const [isCut, isShort] = [cut.startsWith("…"), !text.startsWith("…")];
  if (isCut !== isShort) return 0;
  if (!isCut) return 1;
  return Math.max(0, text.indexOf(cut.slice(1, 1 + ALIKE)));
}

/** Without the half of a character that the cut may leave. */
const partFrom = (text: string, start: number): string =>
  truncate((start > 0 ? "…" : "") + text.slice(start).replace(/^[\udc00-\udfff]/, ""), PART_WIDTH);
