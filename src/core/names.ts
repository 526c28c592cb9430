// Column and property names as people mistype them. Column names compare without case.

/** The form in which two names are compared. */
export const foldName = (name: string): string => name.toLowerCase();

/** Number of single-character edits between two texts; swapping two neighbours counts as one. */
export function editDistance(a: string, b: string): number {
  const [s, t] = [[...a], [...b]];
  let before: number[] = [];
  let row = t.map((_, j) => j + 1);
  row.unshift(0);
  for (let i = 1; i <= s.length; i++) {
    const next = [i];
    for (let j = 1; j <= t.length; j++) {
      const same = s[i - 1] === t[j - 1] ? 0 : 1;
      let best = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same);
      if (i > 1 && j > 1 && s[i - 1] === t[j - 2] && s[i - 2] === t[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      next.push(best);
    }
    [before, row] = [row, next];
  }
  return row[t.length]!;
}

/** The candidate most like `name`, when it is near enough to be what was meant. */
export function closestName(name: string, candidates: Iterable<string>): string | undefined {
  // A misspelt name has a few wrong letters; longer ones may have more. Long texts are no misspellings.
  if (name.length > 100) return undefined;
  const folded = foldName(name);
  let found: string | undefined;
  let least = Math.max(1, Math.floor(folded.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= least) continue;
    const distance = editDistance(folded, foldName(candidate));
    if (distance < least) [found, least] = [candidate, distance];
  }
  return found;
}

/** `; did you mean "x"?` or a full stop: the end of a sentence about an unknown name. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const meant = closestName(name, candidates);
  return meant === undefined ? "." : `; did you mean ${JSON.stringify(meant)}?`;
}

const LISTED = 30;

/** Names for a sentence; a long list is cut. */
export const listNames = (names: readonly string[]): string =>
  names.length === 0
    ? "none"
    : names.slice(0, LISTED).join(", ") + (names.length > LISTED ? ` and ${names.length - LISTED} more` : "");
