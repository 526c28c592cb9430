// Where the keys that verify tokens come from: a JWKS behind an https URL, or in a file.
import { readFile, stat } from "node:fs/promises";
import { createLocalJWKSet, createRemoteJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { AppError } from "../../core/app-error.js";

/** The keys of an identity provider. They are fetched when first needed, and again when they may have changed. */
export function providerKeys(url: URL): JWTVerifyGetKey {
  const keys = url.protocol === "file:" ? fileKeys(url) : createRemoteJWKSet(url, { timeoutDuration: 5_000 });
  return async (header, token) => {
    try {
      return await keys(header, token);
    } catch (error) {
      if (isAboutTheToken(error)) throw error;
      throw new AppError(
        "unavailable",
        "UNAVAILABLE",
        "The keys of the identity provider cannot be had now, so tokens cannot be checked: try again.",
        { cause: error },
      );
    }
  };
}

/** Keys that never change while the server runs. */
export const fixedKeys = (keys: JSONWebKeySet): JWTVerifyGetKey => createLocalJWKSet(keys);

const isAboutTheToken = (error: unknown) =>
  error instanceof errors.JWKSNoMatchingKey ||
  error instanceof errors.JWKSMultipleMatchingKeys ||
  error instanceof errors.JOSENotSupported;

/** Looks at the file's stamp each time (verified tokens are remembered, so that is rare) and reads it when it changed. */
function fileKeys(url: URL): JWTVerifyGetKey {
  let known: { stamp: string; keys: JWTVerifyGetKey } | undefined;
  return async (header, token) => {
    const { mtimeMs, size, ino } = await stat(url);
    const stamp = `${mtimeMs} ${size} ${ino}`;
    if (known?.stamp !== stamp) known = { stamp, keys: createLocalJWKSet(JSON.parse(await readFile(url, "utf8"))) };
    return known.keys(header, token);
  };
}
