// The port registry: where the rows of each materialised port and the console of each operator lie.
// port_result_logical serves look-ups by logical port; the primary key serves those by physical port, whose printed
// form is the global port id.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table port_result (
      execution_id    uuid not null references execution on delete cascade,
      global_port_id  text not null,
      operator_id     text not null,
      layer           text not null,
      port_id         integer not null,
      internal        boolean not null,
      input           boolean not null,
      uri             text not null,
      row_count       bigint not null,
      byte_count      bigint not null,
      schema          jsonb not null,
      subdag_hash     text not null,
      viewed          boolean not null,
      attempt         integer not null,
      registered_at   timestamptz not null default now(),
      primary key (execution_id, global_port_id)
    );
    create index port_result_logical on port_result (execution_id, operator_id, port_id);

    create table console_result (
      execution_id  uuid not null references execution on delete cascade,
      operator_id   text not null,
      worker        integer not null,
      uri           text not null,
      line_count    bigint not null,
      byte_count    bigint not null,
      primary key (execution_id, operator_id, worker)
    );
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table console_result, port_result");
}
