// JSON with errors people can use: Node's own say nothing reliable about where.
import { AppError } from "../core/app-error.js";

/** Parses JSON; otherwise an error that names line and column. */
export function parseJson(content: string, name: string): unknown {
  const body = content.startsWith("\ufeff") ? content.slice(1) : content;
  const json = parsed(body, name);
  if (body.includes("__proto__") && hasLostName(json))
    throw notJson(`${name} has a field called "__proto__", which nothing keeps: rename it.`);
  return json;
}

function parsed(body: string, name: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    const { at, expected } = firstError(body);
    const before = body.slice(0, at).split("\n");
    const where = `line ${before.length}, column ${before.at(-1)!.length + 1}`;
    throw notJson(`${name} is not JSON: ${expected} expected at ${where}.`, error);
  }
}

const notJson = (message: string, cause?: unknown) => new AppError("invalid", "NOT_JSON", message, { cause });

/** JSON allows the name; what copies objects afterwards loses it without a word. */
function hasLostName(json: unknown): boolean {
  let level = [json];
  while (level.length > 0) {
    const objects = level.filter((value) => typeof value === "object" && value !== null);
    if (objects.some((object) => Object.hasOwn(object, "__proto__"))) return true;
    level = objects.flatMap((value) => Object.values(value));
  }
  return false;
}

class Stop extends Error {
  constructor(
    readonly at: number,
    readonly expected: string,
  ) {
    super(expected);
  }
}

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them unescaped in strings
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

/** Where text that JSON.parse refuses stops being JSON. */
function firstError(text: string): { at: number; expected: string } {
  let at = 0;
  const skip = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at += found[0].length;
    return found !== null;
  };
  const take = (character: string) => {
    skip(SPACE);
    if (text[at] !== character) return false;
    at++;
    return true;
  };
  const string = (what: string) => {
    skip(SPACE);
    if (!skip(STRING)) throw new Stop(at, text[at] === '"' ? "a string that is closed and well escaped" : what);
  };
  const list = (end: string, item: () => void) => {
    if (take(end)) return;
    do item();
    while (take(","));
    if (!take(end)) throw new Stop(at, `"," or "${end}"`);
  };
  const member = () => {
    string("a name in double quotes");
    if (!take(":")) throw new Stop(at, '":"');
    value();
  };
  const value = () => {
    skip(SPACE);
    if (take("{")) list("}", member);
    else if (take("[")) list("]", value);
    else if (text[at] === '"') string("a string");
    else if (!skip(SCALAR)) throw new Stop(at, "a value");
  };
  try {
    value();
    skip(SPACE);
  } catch (error) {
    if (error instanceof Stop) return error;
    if (!(error instanceof RangeError)) throw error; // nested deeper than this can look
    return { at, expected: "less nesting" };
  }
  return { at, expected: at < text.length ? "the end" : "a value" };
}
