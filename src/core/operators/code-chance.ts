// Does user code name chance or the clock? The code is only read, never run: a name in a comment counts too, and what is
// well hidden does not. Its author settles it with the setting "deterministic". Whatever the code, looking takes time in
// proportion to its length: every sign begins with a word, a dot or the beginning of a line.
import type { Language } from "../plan.js";

const SIGNS: Record<Language, RegExp[]> = {
  javascript: [
    /\bMath\s*\.\s*random\b/,
    // Under another name, or by a name that is put together.
    /(?<![\w$."'`])Math\b(?!\s*\.)/,
    /\bDate\s*\.\s*now\b/,
    /\bDate\b(?<=[=(,[]\s*Date)\s*(?=[;,)\]\n]|$)|(?<![\w$."'`])Date\s*(?:\[|\?\.)/,
    // A date of something is determined by it; `new Date()`, `new Date` and `Date()` are of now.
    /\bnew\s+Date\b(?!\s*\(\s*[^)\s])/,
    /(?<!new\s)(?<![\w$.])Date\s*\(/,
  ],
  python: [
    /^[ \t]*(?:import|from)\b[^\n#]*?\b(?:random|secrets|uuid)\b/m,
    /\b(?:__import__|import_module)\s*\(/,
    /\burandom\b/,
    /\b(?:datetime|date)\s*\.\s*(?:now|utcnow|today)\b|\.\s*(?:now|utcnow|today)\s*\(/,
    /\btime\s*\.\s*(?:time|monotonic|perf_counter|process_time|localtime|gmtime|ctime)(?:_ns)?\b/,
    // With one argument it shows the time of now.
    /\btime\s*\.\s*(?:asctime\s*\(\s*\)|strftime\s*\([^,()]*\))/,
    /^[ \t]*from\s+time\s+import\b[^\n#]*|^[ \t]*import\b[^\n#]*\btime\s+as\b/m,
    // Hashes of texts, and addresses, differ from process to process.
    /(?<![\w.])(?:hash|id)\s*\(/,
  ],
};

/** The first words in the code that make its result differ from run to run; undefined when there are none. */
export function chanceInCode(code: string, language: Language): string | undefined {
  for (const sign of SIGNS[language]) {
    const words = sign.exec(code)?.[0].trim();
    if (words !== undefined) return words;
  }
  return undefined;
}
