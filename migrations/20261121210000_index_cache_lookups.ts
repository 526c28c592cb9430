// What lookups of many ports ask for. The entries of a workflow lie side by side in an index, so that they are found by one
// scan; over numbers, those that hash indexes of texts are made of: a fifth of the size of the texts, and compared at once.
// One number for workflow and hash: of an index of two columns, Postgres before 17 may use the first one alone.
// The index of hashes learns the project, so that nobody's equal hashes cost another project's lookups anything.
// The names an execution pins are stored as they are: to compress ninety kilobytes of names takes longer than to look up
// the thousand ports they stand for.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create index cache_entry_workflow on cache_entry
      (((cast(hashtext(project_id || ' ' || workflow_id) as bigint) << 32)
        | (cast(hashtext(subdag_hash) as bigint) & 4294967295)));
    drop index cache_entry_hash;
    create index cache_entry_hash on cache_entry using hash ((project_id || ' ' || subdag_hash));
    alter table cache_pin alter column uris set storage external;
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table cache_pin alter column uris set storage extended;
    drop index cache_entry_hash;
    create index cache_entry_hash on cache_entry using hash (subdag_hash);
    drop index cache_entry_workflow;
  `);
}
