// Writes migrations/schema.sql from the migrations, or with --check says whether it is up to date.
// It uses an embedded Postgres of its own that is gone afterwards.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "../server/database/database.js";
import { migrate } from "../server/database/migrate.js";
import { schemaSnapshot } from "../server/database/schema-snapshot.js";
import { startEmbeddedPostgres } from "./embedded-postgres.js";
import { writeOrCheck } from "./made-file.js";

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

await writeOrCheck({ path: "migrations/schema.sql", command: "make schema", content: snapshotOfMigrations });
