// Texera's keyword search asks Lucene whether a text answers a query. What can be said of words is said in SQL: a word,
// a phrase in quotes, and how they must stand together. Whatever else Lucene's query language has is refused.
//
// K1  A text is taken apart into words, in lower case, with a space before and behind each: a phrase is found as text.
// K2  Without AND a word is optional; if no word is demanded, one of the optional ones must be there.
import { literal, textOf } from "./import-conditions.js";
import { type Refusal, refused } from "./import-rule.js";

/** Letters, digits and underscores, and a point or apostrophe between them: close to the Unicode rule that Lucene has. */
const WORD = "[\\p{L}\\p{M}\\p{N}_]+(?:[.'’][\\p{L}\\p{M}\\p{N}_]+)*";
const ONE_WORD = new RegExp(`^${WORD}$`, "u");
const PART = /\s*([+-]?)(?:"([^"]*)"|([^\s"]+))/y;

interface Clause {
  words: string[];
  demand: "must" | "may" | "must not";
}

/** The condition on a column, or why there is none. */
export function keywordCondition(column: string, query: string): { sql: string } | Refusal {
  const clauses = clausesOf(query);
  if (typeof clauses === "string")
    return refused(
      `Its keywords ${JSON.stringify(query.slice(0, 80))} ${clauses}; write them otherwise in Texera, or map it to a user function.`,
    );
  const words = `(' ' || array_to_string(regexp_extract_all(lower(${textOf(column)}), ${literal(WORD)}), ' ') || ' ')`;
  const holds = ({ words: wanted }: Clause) => `contains(${words}, ${literal(` ${wanted.join(" ")} `)})`;
  const of = (demand: Clause["demand"]) => clauses.filter((clause) => clause.demand === demand).map(holds);
  const [must, may, mustNot] = [of("must"), of("may"), of("must not")];
  if (must.length + may.length === 0)
    return refused("Its keywords only say what must not be there, and then no text is found; add a word in Texera.");
  const parts = [
    ...must,
    ...(must.length === 0 ? [`(${may.join(" OR ")})`] : []),
    ...mustNot.map((one) => `NOT ${one}`),
  ];
  return { sql: parts.join(" AND ") };
}

/** What the query demands; a text when it holds something that is not known here. */
function clausesOf(query: string): Clause[] | string {
  const parts: { sign: string; phrase?: string; word?: string }[] = [];
  PART.lastIndex = 0;
  const text = query.trimEnd();
  while (PART.lastIndex < text.length) {
    const match = PART.exec(text);
    if (match === null) return "leave a quotation mark open";
    parts.push({ sign: match[1]!, phrase: match[2], word: match[3] });
  }
  const joins = new Set<string>();
  const clauses: Clause[] = [];
  let negated = false;
  let joined = true;
  for (const { sign, phrase, word } of parts) {
    if (sign === "" && (word === "AND" || word === "OR")) {
      if (joined || negated) return `have ${word} without a word on each side`;
      joins.add(word);
      joined = true;
    } else if (sign === "" && word === "NOT") {
      negated = true;
    } else {
      const words = (phrase ?? word!).trim().split(/\s+/).filter(Boolean);
      const odd = words.find((one) => !ONE_WORD.test(one));
      if (words.length === 0) return "hold an empty phrase";
      if (odd !== undefined) return `hold ${JSON.stringify(odd)}, which is no plain word`;
      if (!joined && clauses.length > 0) joins.add("");
      const demand = negated || sign === "-" ? "must not" : sign === "+" ? "must" : "may";
      clauses.push({ words: words.map((one) => one.toLowerCase()), demand });
      [negated, joined] = [false, false];
    }
  }
  if (joined || negated) return "end with AND, OR or NOT, or are empty";
  if (joins.has("AND") && joins.size > 1) return "mix AND with words that are joined otherwise";
  return joins.has("AND")
    ? clauses.map((clause) => (clause.demand === "may" ? { ...clause, demand: "must" } : clause))
    : clauses;
}
