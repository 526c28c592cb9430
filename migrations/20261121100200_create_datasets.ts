// Datasets and their immutable, numbered versions. The content hash is a version's identity; modified_at and byte_count
// tell cheaply whether a file registered in place is still the one that was hashed.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table dataset (
      id              uuid primary key,
      project_id      text not null references project on delete cascade,
      name            text not null,
      latest_version  integer not null,
      public          boolean not null default false,
      created_by      text not null,
      created_at      timestamptz not null default now(),
      unique (project_id, name)
    );

    create table dataset_version (
      dataset_id    uuid not null references dataset on delete cascade,
      version       integer not null check (version > 0),
      content_hash  text not null,
      uri           text not null,
      format        jsonb not null,
      schema        jsonb not null,
      row_count     bigint not null,
      byte_count    bigint not null,
      modified_at   timestamptz not null,
      created_by    text not null,
      created_at    timestamptz not null default now(),
      primary key (dataset_id, version)
    );
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table dataset_version, dataset");
}
