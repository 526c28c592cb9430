// Projects, their members, computing units and single grants: who may do what.
// project_member_subject serves "which projects am I in?"; access_grant_subject serves "what was I granted?".
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table project (
      id          text primary key,
      name        text not null,
      created_by  text not null,
      created_at  timestamptz not null default now()
    );

    create table project_member (
      project_id  text not null references project on delete cascade,
      subject     text not null,
      role        text not null check (role in ('VIEWER', 'EDITOR', 'OWNER')),
      primary key (project_id, subject)
    );
    create index project_member_subject on project_member (subject);

    create table computing_unit (
      project_id  text not null references project on delete cascade,
      id          text not null,
      name        text not null,
      public      boolean not null default false,
      created_by  text not null,
      created_at  timestamptz not null default now(),
      primary key (project_id, id)
    );

    create table access_grant (
      project_id     text not null references project on delete cascade,
      resource_kind  text not null check (resource_kind in ('WORKFLOW', 'DATASET', 'COMPUTING_UNIT')),
      resource_id    text not null,
      subject        text not null,
      permission     text not null check (permission in ('READ', 'WRITE')),
      granted_by     text not null,
      granted_at     timestamptz not null default now(),
      primary key (project_id, resource_kind, resource_id, subject)
    );
    create index access_grant_subject on access_grant (subject, project_id);
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table access_grant, computing_unit, project_member, project");
}
