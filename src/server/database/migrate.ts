// Brings the schema to this release. All pending migrations run in one transaction under an advisory lock, so several
// servers may start at once, and a crash leaves the former schema.
//
// M1  A schema that knows a migration this release does not know belongs to a newer release: nothing is touched.
// M2  Databases are encoded in UTF-8: others cannot hold every text, and digests of texts are made on both sides.
import { readdirSync } from "node:fs";
import type { Knex } from "knex";
import { AppError } from "../../core/app-error.js";
import type { PostgresDatabase } from "./database.js";
import { explainDatabaseError } from "./database-error.js";

/** Beside `src`, in the sources as in a build. */
const FOLDER = new URL("../../../migrations/", import.meta.url);

/** The table that lists applied migrations. */
const TABLE = "schema_migration";

/** Any number that nothing else in the database uses: "postern" in ASCII, cut to 63 bits. */
const LOCK = 0x706f737465726en;

/** A migration as it stands in the folder; its name has no extension, so that sources and builds agree. */
interface Migration {
  name: string;
  load(): Promise<Knex.Migration>;
}

/** Applies what is pending and returns the names of what it applied. */
export async function migrate(database: PostgresDatabase, folder: URL = FOLDER): Promise<string[]> {
  const migrations = migrationsIn(folder);
  try {
    return await database.knex.transaction(async (trx) => {
      // Another replica's migration may take its time.
      await trx.raw("set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0");
      await trx.raw("select pg_advisory_xact_lock(?)", [LOCK.toString()]);
      await refuseOtherEncoding(trx);
      await refuseNewerSchema(trx, migrations);
      const [, applied]: [number, string[]] = await trx.migrate.latest(configuration(migrations));
      return applied;
    });
  } catch (error) {
    throw explainDatabaseError(error);
  }
}

function migrationsIn(folder: URL): Migration[] {
  return readdirSync(folder)
    .filter((file) => /^\d{14}_\w+\.(ts|js)$/.test(file))
    .sort()
    .map((file) => ({
      name: file.replace(/\.(ts|js)$/, ""),
      load: () => import(new URL(file, folder).href) as Promise<Knex.Migration>,
    }));
}

/** M2 */
async function refuseOtherEncoding(trx: Knex.Transaction): Promise<void> {
  const { rows } = await trx.raw("select current_setting('server_encoding') as encoding");
  const [{ encoding }] = rows as [{ encoding: string }];
  if (encoding === "UTF8") return;
  throw new AppError(
    "precondition",
    "INVALID_REQUEST",
    `The database is encoded in ${encoding}, in which not every text can be stored; create one with encoding UTF8.`,
  );
}

async function refuseNewerSchema(trx: Knex.Transaction, migrations: Migration[]): Promise<void> {
  if (!(await trx.schema.hasTable(TABLE))) return;
  const known = new Set(migrations.map(({ name }) => name));
  const applied: string[] = await trx(TABLE).orderBy("id").pluck("name");
  const newer = applied.find((name) => !known.has(name));
  if (newer === undefined) return;
  throw new AppError(
    "precondition",
    "SCHEMA_NEWER",
    `The database's schema is newer than this release (it has ${newer}): upgrade the server.`,
  );
}

function configuration(migrations: Migration[]): Knex.MigratorConfig {
  return {
    tableName: TABLE,
    migrationSource: {
      getMigrations: async () => migrations,
      getMigrationName: ({ name }) => name,
      getMigration: ({ load }) => load(),
    } satisfies Knex.MigrationSource<Migration>,
  };
}
