// Stored replies by request id, and the audit log. A reply never holds a token: calls that mint one leave it out and
// mint anew. request_reply_age serves the removal of old replies.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table request_reply (
      subject         text not null,
      project_id      text not null,
      request_id      text not null,
      method          text not null,
      request_digest  text not null,
      reply           bytea not null,
      created_at      timestamptz not null default now(),
      primary key (subject, project_id, request_id)
    );
    create index request_reply_age on request_reply (created_at);

    create table audit_log (
      id            bigint generated always as identity primary key,
      at            timestamptz not null default now(),
      actor         text not null,
      action        text not null,
      project_id    text not null,
      resource      text not null,
      detail        jsonb not null
    );
    create index audit_log_resource on audit_log (project_id, resource, at);
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table audit_log, request_reply");
}
