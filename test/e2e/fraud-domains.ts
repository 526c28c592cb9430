// What the exported workflow of fraudulent domains gives, computed without an engine: plain arrays and maps, following
// what Texera's operators do one by one.

/** A row of the result, in the order of RESULT_COLUMNS. */
export type ResultRow = (string | number | boolean | null)[];

export const RESULT_COLUMNS = [
  "Email",
  "Email_Arr[0]",
  "Email_Arr[1]",
  "distance",
  "Labels",
  "Reference valid domain",
  "suspicious_domain",
  "Long domain is spam",
];

/** A domain with how often it occurs, and what the branches of the workflow find out about it. */
interface Labelled {
  inputDomain: string;
  reference: string;
  distance: number | null;
  label: string;
  longIsSpam: boolean | null;
}

/** The rows for addresses such as "a@b.c". */
export function fraudDomains(emails: readonly string[]): ResultRow[] {
  const rows = emails.map((email) => ({ email, parts: email.split("@") }));
  const counts = new Map<string, number>();
  for (const { parts } of rows) counts.set(parts[1]!, (counts.get(parts[1]!) ?? 0) + 1);
  const domains = [...counts].map(([domain, count]) => ({ domain, count, length: domain.split(".")[0]!.length }));
  const labelled = [...shortDomains(domains.filter((d) => d.length <= 5)), ...longDomains(domains)];
  // The full outer join of all addresses with what was found out about their domains.
  const matched = rows.flatMap(({ email, parts }): ResultRow[] => {
    const found = labelled.filter(({ inputDomain }) => inputDomain === parts[1]);
    const known = [email, parts[0]!, parts[1]!];
    if (found.length === 0) return [[...known, null, null, null, null, null]];
    return found.map((one) => [...known, ...resultOf(one)]);
  });
  const present = new Set(counts.keys());
  const alone = labelled.filter(({ inputDomain }) => !present.has(inputDomain));
  return [...matched, ...alone.map((one): ResultRow => [null, null, null, ...resultOf(one)])];
}

const resultOf = (one: Labelled): ResultRow => [
  one.distance,
  one.label,
  one.reference,
  looksLikeSpam(one.inputDomain),
  one.longIsSpam,
];

interface Domain {
  domain: string;
  count: number;
  length: number;
}

/** Each short domain with the nearest of the ten most frequent ones; the first of several that are as near. */
function shortDomains(short: readonly Domain[]): Labelled[] {
  const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  const top = [...short].sort((a, b) => b.count - a.count || byText(a.domain, b.domain)).slice(0, 10);
  return short.map(({ domain }) => {
    const distances = top.map((one) => edits(one.domain, domain) / Math.max(one.domain.length, domain.length));
    const distance = Math.min(...distances);
    return {
      // The join puts the frequent domain first, so that is what the workflow calls its input.
      inputDomain: top[distances.indexOf(distance)]!.domain,
      reference: domain,
      distance,
      label: distance > 0 ? "Fradulent mail" : "Valid mail",
      longIsSpam: null,
    };
  });
}

const longDomains = (domains: readonly Domain[]): Labelled[] =>
  domains
    .filter(({ length }) => length > 5)
    .map(({ domain }) => {
      const spam = looksLikeSpam(domain);
      const label = spam ? "Fradulent mail" : "hotlisted";
      return { inputDomain: domain, reference: domain, distance: null, label, longIsSpam: spam };
    });

/** The stand-in for the spam model, as in test/data/texera/spam.py. */
function looksLikeSpam(domain: string): boolean {
  const name = domain.split(".")[0]!.toLowerCase();
  const consonants = [...name].filter((letter) => "bcdfghjklmnpqrstvwxyz".includes(letter)).length;
  return consonants / Math.max(name.length, 1) > 0.75;
}

/** The least number of insertions, deletions and replacements. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
