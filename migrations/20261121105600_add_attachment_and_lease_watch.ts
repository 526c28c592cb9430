// execution.attachment counts the Attach streams of an execution: the newest one alone may write, so a half-dead older
// stream of the same executor cannot. lease_watch has one row that says since when some replica has been looking after
// leases without a break: nobody loses a lease to an outage of the servers or of the database. A command belongs to the
// attempt it was given in; the next attempt does not inherit it.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table execution add column attachment bigint not null default 0;
    alter table execution_command add column attempt integer not null default 1;
    create table lease_watch (
      singleton       boolean primary key default true check (singleton),
      watching_since  timestamptz not null,
      watched_at      timestamptz not null
    );
    insert into lease_watch (watching_since, watched_at) values (now(), now());
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop table lease_watch;
    alter table execution_command drop column attempt;
    alter table execution drop column attachment;
  `);
}
