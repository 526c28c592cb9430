import { openDatabase, type PostgresDatabase } from "../../src/server/database/database.js";
import { migrate } from "../../src/server/database/migrate.js";
import { createTestDatabase } from "./database.js";

/** The template with the schema of this release. */
export async function withSchema(url: string): Promise<void> {
  const database = await openDatabase({ url, poolSize: 1 });
  try {
    await migrate(database);
  } finally {
    await database.close();
  }
}

export interface MigratedDatabase {
  url: string;
  db: PostgresDatabase;
  /** Closes the pool and drops the database. */
  close(): Promise<void>;
}

/** A database of its own with the schema of this release, and a pool to it. */
export async function createMigratedDatabase({ poolSize = 5 } = {}): Promise<MigratedDatabase> {
  const { url, drop } = await createTestDatabase({ template: withSchema });
  const db = await openDatabase({ url, poolSize });
  return {
    url,
    db,
    close: async () => {
      await db.close();
      await drop();
    },
  };
}
