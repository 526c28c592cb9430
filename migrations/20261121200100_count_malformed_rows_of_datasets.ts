// How many rows of a dataset's file do not fit its columns: a scan leaves them out, or fails at them. Files registered
// before this were refused when they had any.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw("alter table dataset_version add column malformed_row_count bigint not null default 0");
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("alter table dataset_version drop column malformed_row_count");
}
