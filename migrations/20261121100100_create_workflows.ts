// Workflows and their immutable, numbered versions. The plan is the proto3 JSON of LogicalPlan.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table workflow (
      project_id      text not null references project on delete cascade,
      id              text not null,
      latest_version  integer not null,
      public          boolean not null default false,
      created_by      text not null,
      created_at      timestamptz not null default now(),
      primary key (project_id, id)
    );

    create table workflow_version (
      project_id   text not null,
      workflow_id  text not null,
      version      integer not null check (version > 0),
      plan         jsonb not null,
      digest       text not null,
      comment      text not null,
      created_by   text not null,
      created_at   timestamptz not null default now(),
      primary key (project_id, workflow_id, version),
      foreign key (project_id, workflow_id) references workflow on delete cascade
    );
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table workflow_version, workflow");
}
