// Reads the environment into typed values; every complaint names the variable and says what it should hold.
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { invalid } from "../core/app-error.js";

export interface Environment {
  /** Text that must be there; an empty value counts as absent. */
  text(name: string, defaultTo?: string): string;
  optionalText(name: string): string | undefined;
  integer(name: string, range: { defaultTo: number; min: number; max?: number }): number;
  /** 1 or true; 0, false or absent. */
  flag(name: string): boolean;
  oneOf<Word extends string>(name: string, words: readonly Word[], defaultTo: Word): Word;
  /** Path of a file that exists and can be read. */
  file(name: string): string;
  optionalFile(name: string): string | undefined;
  /** Path of a file that exists and that only its owner can read. */
  secretFile(name: string): string;
  optionalSecretFile(name: string): string | undefined;
}

export function environment(variables: NodeJS.ProcessEnv): Environment {
  const optionalText = (name: string) => variables[name]?.trim() || undefined;
  const text = (name: string, defaultTo?: string): string => {
    const value = optionalText(name) ?? defaultTo;
    if (value === undefined) throw invalid(`${name} is not set.`);
    return value;
  };
  const wrong = (name: string, wanted: string) =>
    invalid(`${name} is ${JSON.stringify(text(name).slice(0, 100))}: ${wanted}.`);
  return {
    text,
    optionalText,
    integer(name, { defaultTo, min, max = Number.MAX_SAFE_INTEGER }) {
      const value = optionalText(name);
      if (value === undefined) return defaultTo;
      const number = Number(value);
      if (/^-?\d+$/.test(value) && number >= min && number <= max) return number;
      const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
      throw wrong(name, `it must be a whole number ${range}`);
    },
    flag(name) {
      const value = optionalText(name)?.toLowerCase() ?? "0";
      if (value === "1" || value === "true") return true;
      if (value === "0" || value === "false") return false;
      throw wrong(name, "it must be 1 or 0");
    },
    oneOf<Word extends string>(name: string, words: readonly Word[], defaultTo: Word): Word {
      const value = text(name, defaultTo);
      const word = words.find((one) => one === value);
      if (word === undefined) throw wrong(name, `it must be one of ${words.join(", ")}`);
      return word;
    },
    file: (name) => readable(name, text(name)),
    optionalFile: (name) => mapped(optionalText(name), (path) => readable(name, path)),
    secretFile: (name) => secret(name, text(name)),
    optionalSecretFile: (name) => mapped(optionalText(name), (path) => secret(name, path)),
  };
}

const mapped = (path: string | undefined, check: (path: string) => string) =>
  path === undefined ? undefined : check(path);

/** The path, when it names a file that can be read; `name` is the variable that named it. */
export function readable(name: string, path: string): string {
  try {
    if (!statSync(path).isFile()) throw new Error("it is no file");
    accessSync(path, constants.R_OK);
    return path;
  } catch (cause) {
    throw invalid(`${name} names ${path}, which cannot be read (${(cause as Error).message}).`, cause);
  }
}

function secret(name: string, path: string): string {
  readable(name, path);
  if (process.platform !== "win32" && (statSync(path).mode & 0o077) !== 0)
    throw invalid(`${name} names ${path}, which others can read: run \`chmod 600 ${path}\`.`);
  return path;
}

/** The content of a secret file, without the line end; `name` is the variable that named it. */
export function readSecretFile(name: string, path: string): string {
  const content = readFileSync(secret(name, path), "utf8").replace(/\r?\n$/, "");
  if (content === "") throw invalid(`${name} names ${path}, which is empty.`);
  return content;
}
