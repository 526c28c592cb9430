// The port cache. cache_entry_source serves the removal of entries whose execution lets its results go.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table cache_entry (
      project_id           text not null,
      workflow_id          text not null,
      global_port_id       text not null,
      subdag_hash          text not null,
      fingerprint_json     text not null,
      result_uri           text not null,
      tuple_count          bigint not null,
      byte_count           bigint not null,
      source_execution_id  uuid not null references execution on delete cascade,
      created_at           timestamptz not null default now(),
      updated_at           timestamptz not null default now(),
      primary key (project_id, workflow_id, global_port_id, subdag_hash),
      foreign key (project_id, workflow_id) references workflow on delete cascade
    );
    create index cache_entry_source on cache_entry (source_execution_id);
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table cache_entry");
}
