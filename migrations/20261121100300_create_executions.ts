// Executions with their lease, plan, log, statistics and pending commands. The plan has a table of its own because the
// execution's row is updated with every batch of events. A trusted execution's results may stand for other runs: the
// server's own executors ran it, or whoever started it may write the workflow.
//
// execution_by_workflow serves "latest of workflow" and lists; execution_by_unit "latest of workflow + computing unit";
// execution_succeeded "figures of the latest successful run";
// execution_queue the dispatcher; execution_lease the reaper; execution_command_pending the session.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table execution (
      id                 uuid primary key,
      project_id         text not null,
      workflow_id        text not null,
      workflow_version   integer not null,
      computing_unit_id  text not null,
      name               text not null,
      state              text not null check (state in ('QUEUED', 'PREPARED', 'RUNNING', 'PAUSING', 'PAUSED',
                           'RESUMING', 'COMPLETING', 'COMPLETED', 'FAILED', 'KILLED')),
      attempt            integer not null,
      max_attempts       integer not null,
      epoch              bigint not null,
      queued             boolean not null,
      trusted            boolean not null,
      created_by         text not null,
      created_at         timestamptz not null default now(),
      started_at         timestamptz,
      ended_at           timestamptz,
      failure            jsonb,
      log_uri            text not null default '',
      statistics_uri     text not null default '',
      plan_digest        text not null,
      last_event_number  bigint not null default 0,
      last_sequence      bigint not null default 0,
      executor_id        text not null default '',
      lease_expires_at   timestamptz,
      cancel_requested   boolean not null default false,
      manifest_digest    text,
      foreign key (project_id, workflow_id, workflow_version) references workflow_version on delete cascade,
      foreign key (project_id, computing_unit_id) references computing_unit on delete cascade
    );
    create index execution_by_project on execution (project_id, id desc);
    create index execution_by_workflow on execution (project_id, workflow_id, id desc);
    create index execution_succeeded on execution (project_id, workflow_id, id desc) where state = 'COMPLETED' and trusted;
    create index execution_by_unit on execution (project_id, workflow_id, computing_unit_id, id desc);
    create index execution_queue on execution (project_id, computing_unit_id, id) where state = 'QUEUED';
    create index execution_lease on execution (lease_expires_at) where lease_expires_at is not null;

    create table execution_plan (
      execution_id  uuid primary key references execution on delete cascade,
      plan          jsonb not null
    );

    create table execution_event (
      execution_id  uuid not null references execution on delete cascade,
      number        bigint not null,
      attempt       integer not null,
      sequence      bigint not null,
      occurred_at   timestamptz not null,
      kind          text not null,
      body          bytea not null,
      primary key (execution_id, number)
    );

    create table operator_statistics (
      execution_id       uuid not null references execution on delete cascade,
      operator_id        text not null,
      layer              text not null,
      state              text not null,
      input_rows         bigint,
      output_rows        bigint,
      output_bytes       bigint not null,
      busy_ms            bigint not null,
      progress           double precision,
      peak_memory_bytes  bigint not null,
      primary key (execution_id, operator_id, layer)
    );

    create table execution_command (
      command_id       uuid primary key,
      execution_id     uuid not null references execution on delete cascade,
      kind             text not null check (kind in ('CANCEL', 'PAUSE', 'RESUME', 'KILL')),
      reason           text not null,
      requested_by     text not null,
      requested_at     timestamptz not null default now(),
      acknowledged_at  timestamptz,
      refused          text not null default ''
    );
    create index execution_command_pending on execution_command (execution_id, requested_at)
      where acknowledged_at is null;
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw("drop table execution_command, operator_statistics, execution_event, execution_plan, execution");
}
