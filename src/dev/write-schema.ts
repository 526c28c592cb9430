// Writes migrations/schema.sql from the migrations, or with --check says whether it is up to date.
// It uses an embedded Postgres of its own that is gone afterwards.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openDatabase } from "../server/database/database.js";
import { migrate } from "../server/database/migrate.js";
import { schemaSnapshot } from "../server/database/schema-snapshot.js";
import { startEmbeddedPostgres } from "./embedded-postgres.js";
import { firstDifference } from "./first-difference.js";

const file = fileURLToPath(new URL("../../migrations/schema.sql", import.meta.url));

async function snapshotOfMigrations(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "postern-schema-"));
  try {
    const postgres = await startEmbeddedPostgres({ dataDir: join(directory, "postgres"), durable: false });
    try {
      const { host, port, user, passwordFile, database } = postgres.connection;
      const url = `postgres://${user}@/${database}?host=${encodeURIComponent(host)}&port=${port}`;
      const db = await openDatabase({ url, passwordFile, poolSize: 1 });
      try {
        await migrate(db);
        return await schemaSnapshot(db);
      } finally {
        await db.close();
      }
    } finally {
      await postgres.stop();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const fresh = await snapshotOfMigrations();
if (process.argv.includes("--check")) {
  const written = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  if (written !== fresh) {
    console.error(
      `migrations/schema.sql is out of date: run \`make schema\`. First difference in ${firstDifference(written, fresh)}`,
    );
    process.exitCode = 1;
  }
} else {
  await writeFile(file, fresh);
}
