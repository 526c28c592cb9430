// Child of datasets.pg.test.ts: uploads 8 MiB into the directory named by its argument, which has less room, and prints
// how that ended and what is left there.
import { readdir } from "node:fs/promises";
import { AppError } from "../../src/core/app-error.js";
import { receiveUpload } from "../../src/server/datasets/dataset-files.js";

async function* chunks() {
  for (let i = 0; i < 8; i++) yield Buffer.alloc(1024 * 1024, "a");
}

const directory = process.argv[2]!;
const outcome = await receiveUpload(chunks(), { directory, ending: "csv", byteCount: 8 * 1024 * 1024 }).then(
  () => "stored",
  (error: unknown) => (error instanceof AppError ? `${error.code} ${error.reason}` : String(error)),
);
process.stdout.write(JSON.stringify({ outcome, left: await readdir(directory) }));
