// The last report travels in one message: what does not fit is refused before anything is sent, because no server would
// ever take it.
import { Manifest } from "../contract/postern/v1/execution.js";
import { invalid } from "../core/app-error.js";

/** Largest manifest: a message of 4 MiB, with room for the frame around it and for `last_sequence`. */
export const MANIFEST_BYTES = 4 * 1024 * 1024 - 1024;

export const sizeOfManifest = (manifest: Manifest): number => Manifest.encode(manifest).finish().length;

/** Throws AppError, saying what to shorten, for a manifest that does not fit. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const bytes = Manifest.encode(manifest).finish();
  if (bytes.length <= MANIFEST_BYTES) return bytes;
  const [part, size] = largestPart(manifest);
  throw invalid(
    `A manifest of ${bytes.length} bytes is too large: ${MANIFEST_BYTES} at most. Shorten its ${part}, which takes ${size} of them.`,
  );
}

function largestPart({ failure, ports, consoles, statistics, cacheCommits }: Manifest): [part: string, bytes: number] {
  const sizes = Object.entries({
    "failure (message and detail)": { failure },
    "list of ports": { ports },
    "list of consoles": { consoles },
    statistics: { statistics },
    "list of cache commits": { cacheCommits },
  }).map(([part, only]): [string, number] => [part, sizeOfManifest({ ...Manifest.fromPartial({}), ...only })]);
  return sizes.reduce((largest, one) => (one[1] > largest[1] ? one : largest));
}
