// How many rows of its file an operator left out because they did not fit: of scans that skip such rows.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw("alter table operator_statistics add column malformed_rows bigint not null default 0");
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("alter table operator_statistics drop column malformed_rows");
}
