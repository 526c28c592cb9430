// Which order to stop was an attempt given last? Asked for each execution that somebody wants stopped, answered orders
// included; the index also finds the orders of an execution that is deleted.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw("create index execution_command_of on execution_command (execution_id, attempt)");
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop index execution_command_of");
}
