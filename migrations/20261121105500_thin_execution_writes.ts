// What a batch of events costs in Postgres. Every batch updates its execution's row, so that update must stay HOT: no
// index may hold a column it changes, and pages keep room for the next version. The reaper finds live executions by
// execution_live and reads their leases from the rows. Events carry no foreign key: the transaction that inserts them holds the
// row lock of their execution, and deleteExecutions removes them.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    drop index execution_lease;
    create index execution_live on execution (id)
      where state in ('PREPARED', 'RUNNING', 'PAUSING', 'PAUSED', 'RESUMING', 'COMPLETING');
    alter table execution set (fillfactor = 50);
    alter table operator_statistics set (fillfactor = 70);
    alter table execution_event drop constraint execution_event_execution_id_fkey;
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    delete from execution_event e where not exists (select from execution x where x.id = e.execution_id);
    alter table execution_event add foreign key (execution_id) references execution on delete cascade;
    alter table operator_statistics reset (fillfactor);
    alter table execution reset (fillfactor);
    drop index execution_live;
    create index execution_lease on execution (lease_expires_at) where lease_expires_at is not null;
  `);
}
