// Checks of request fields that several services share. Ids and names are checked in core/ids.ts.
import { invalid } from "../core/app-error.js";

/** Free text of people: as given, refused when too long or when Postgres could not store it. */
export function freeText(text: string, what: string, maxLength: number): string {
  if (text.length > maxLength) throw invalid(`The ${what} is too long: shorten it to ${maxLength} characters.`);
  if (text.includes("\0")) throw invalid(`The ${what} holds the character U+0000; remove it.`);
  return text;
}

/** A `sub` claim of the identity provider; nothing is known about it but that it is not empty. */
export function subjectName(text: string): string {
  if (text.trim() === "") throw invalid("The subject is missing: give the `sub` claim of the user's token.");
  return freeText(text, "subject", 255);
}

/** The message a request must hold; `what` names its field. */
export function present<T>(message: T | undefined, what: string): T {
  if (message === undefined) throw invalid(`The ${what} is missing.`);
  return message;
}

/** Number of items on a page: 0 for 50, 500 at most. */
export function pageSize(asked: number): number {
  if (asked < 0) throw invalid(`The page size ${asked} is negative; leave it out or ask for 1 to 500.`);
  return asked === 0 ? 50 : Math.min(asked, 500);
}

/** A version number, or 0 for the newest. */
export function versionNumber(version: number): number {
  if (!Number.isInteger(version) || version < 0 || version > 2 ** 31 - 1)
    throw invalid(`${version} is no version number: versions count from 1, and 0 means the newest.`);
  return version;
}

/** Text an executor or user code wrote, in a form Postgres can store: cut, well-formed, and without U+0000. */
export const storableText = (text: string, maxLength: number): string =>
  // Through UTF-8, because a cut may halve a surrogate pair.
  Buffer.from(text.slice(0, maxLength)).toString().replaceAll("\0", "\uFFFD");
