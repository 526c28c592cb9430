// The settings of a Texera operator, read one by one. Its editor lets a workflow be exported half filled in, so anything
// may be missing or of another kind: that is gathered, and told once all has been read.
import type { Json, Properties } from "../plan.js";

export interface ReadProperties {
  /** All of them, as they are in the file. */
  raw: Properties;
  /** Text that must be there and not blank. */
  text(name: string): string;
  /** Text; empty when it is absent. */
  optionalText(name: string): string;
  /** A column that may be left out: absent, blank, or what Texera's menus call "No Selection". */
  optionalColumn(name: string): string | undefined;
  flag(name: string, otherwise: boolean): boolean;
  /** A whole number from 0. */
  count(name: string): number;
  optionalCount(name: string): number | undefined;
  number(name: string, otherwise: number): number;
  /** One of the texts; the first when it is absent. Case does not matter. */
  choice<Choice extends string>(name: string, choices: readonly Choice[]): Choice;
  texts(name: string): string[];
  /** A list of objects. */
  list(name: string): ReadProperties[];
  /** What was wrong with what has been read so far, as sentences. */
  problems: string[];
}

/** `path` stands before the names of members of lists in problems. */
export function readProperties(raw: Properties, path = "", problems: string[] = []): ReadProperties {
  const member = (name: string): Json | undefined => (Object.hasOwn(raw, name) ? raw[name] : undefined);
  const absent = (value: Json | undefined): value is undefined | null => value === undefined || value === null;
  const problem = (name: string, what: string) =>
    void problems.push(`Its property ${JSON.stringify(`${path}${name}`)} ${what}; set it in Texera and export again.`);
  const wrong = (name: string, wanted: string, value: Json) =>
    problem(name, `must be ${wanted} and is ${JSON.stringify(value).slice(0, 60)}`);
  const optionalText = (name: string): string => {
    const value = member(name);
    if (absent(value)) return "";
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return `${value}`;
    wrong(name, "text", value);
    return "";
  };
  const optionalCount = (name: string): number | undefined => {
    const value = member(name);
    if (absent(value) || value === "") return undefined;
    const number = typeof value === "string" ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
    wrong(name, "a whole number from 0", value);
    return undefined;
  };
  const listed = (name: string): Json[] => {
    const value = member(name);
    if (absent(value)) return [];
    if (Array.isArray(value)) return value;
    wrong(name, "a list", value);
    return [];
  };
  return {
    raw,
    problems,
    optionalText,
    optionalCount,
    text(name) {
      const before = problems.length;
      const text = optionalText(name);
      if (text.trim() === "" && problems.length === before) problem(name, "is missing");
      return text;
    },
    optionalColumn(name) {
      const text = optionalText(name);
      return text.trim() === "" || text === "No Selection" ? undefined : text;
    },
    flag(name, otherwise) {
      const value = member(name);
      if (absent(value)) return otherwise;
      if (typeof value === "boolean") return value;
      wrong(name, "true or false", value);
      return otherwise;
    },
    count(name) {
      const before = problems.length;
      const number = optionalCount(name);
      if (number === undefined && problems.length === before) problem(name, "is missing");
      return number ?? 0;
    },
    number(name, otherwise) {
      const value = member(name);
      if (absent(value)) return otherwise;
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      if (typeof number === "number" && Number.isFinite(number)) return number;
      wrong(name, "a number", value);
      return otherwise;
    },
    choice(name, choices) {
      const value = member(name);
      if (absent(value) || value === "") return choices[0]!;
      const found = choices.find((one) => typeof value === "string" && one.toLowerCase() === value.toLowerCase());
      if (found === undefined) wrong(name, `one of ${choices.map((one) => JSON.stringify(one)).join(", ")}`, value);
      return found ?? choices[0]!;
    },
    texts: (name) =>
      listed(name).flatMap((item, i) => {
        if (typeof item === "string") return [item];
        wrong(`${name}.${i}`, "text", item);
        return [];
      }),
    list: (name) =>
      listed(name).flatMap((item, i) => {
        if (typeof item === "object" && item !== null && !Array.isArray(item))
          return [readProperties(item, `${path}${name}.${i}.`, problems)];
        wrong(`${name}.${i}`, "an object", item);
        return [];
      }),
  };
}
