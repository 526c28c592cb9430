// The ledger of stored objects (blob), and what the port cache needs beside its entries.
//
// blob            one row per object in storage that a port, a console or a cache entry names. Those name it by foreign
//                 key, so none of them can lose its object to another one's end. A row that loses a name gets `check_at`;
//                 the sweeper looks at it after a grace and deletes object and row when nothing names or pins it.
//                 Triggers lock the rows in the order of their names: many executions let go of the same objects at once.
// cache_pin       what lookups of a live execution found: its objects stay, whatever becomes of the entries.
// cache_reservation  the right to compute a missing entry. One row per key is HELD; rows that are not any more stay until
//                 their execution goes, so that a late offer can be told from one that was never reserved. `fencing` rises.
//                 namespace: the workflow, or `*` where a project shares its cache.
// cache_waiter    who waits for a key held by another, the oldest first.
// execution_reuse what an execution had from the cache, for people and for the cache's statistics.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table blob (
      uri           text primary key,
      project_id    text not null,
      execution_id  uuid not null,
      row_count     bigint not null,
      byte_count    bigint not null,
      compute_ms    bigint not null default 0,
      created_at    timestamptz not null default now(),
      check_at      timestamptz
    );
    create index blob_check on blob (check_at) where check_at is not null;

    insert into blob (uri, project_id, execution_id, row_count, byte_count)
      select p.uri, e.project_id, e.id, p.row_count, p.byte_count
        from port_result p join execution e on e.id = p.execution_id
      on conflict do nothing;
    insert into blob (uri, project_id, execution_id, row_count, byte_count)
      select c.uri, e.project_id, e.id, c.line_count, c.byte_count
        from console_result c join execution e on e.id = c.execution_id
      on conflict do nothing;
    insert into blob (uri, project_id, execution_id, row_count, byte_count)
      select result_uri, project_id, source_execution_id, tuple_count, byte_count from cache_entry
      on conflict do nothing;

    alter table port_result add constraint port_result_uri_fkey foreign key (uri) references blob;
    create index port_result_uri on port_result (uri);
    alter table console_result add constraint console_result_uri_fkey foreign key (uri) references blob;
    create index console_result_uri on console_result (uri);

    drop index cache_entry_source;
    alter table cache_entry
      drop constraint cache_entry_source_execution_id_fkey,
      add constraint cache_entry_result_uri_fkey foreign key (result_uri) references blob,
      add column compute_ms bigint not null default 0,
      add column hit_count bigint not null default 0,
      add column last_used_at timestamptz not null default now(),
      add column operator_type text not null default '',
      add column dataset_versions text[] not null default '{}',
      add column shareable boolean not null default false,
      -- Read as bytes, a text needs its backslashes doubled.
      add column fingerprint_check bytea not null generated always as
        (substring(sha512(cast(replace(fingerprint_json, '\\', '\\\\') as bytea)) from 1 for 16)) stored;
    create index cache_entry_hash on cache_entry using hash (subdag_hash);
    create index cache_entry_uri on cache_entry (result_uri);
    create index cache_entry_use on cache_entry (project_id, last_used_at);

    create table cache_pin (
      execution_id  uuid primary key references execution on delete cascade,
      uris          text[] not null
    );

    create function check_objects(released text[]) returns void language plpgsql as $$
    begin
      -- In one order, so that those who let go of the same objects at the same time do not wait for each other.
      perform from blob where uri = any(released) order by uri for no key update;
      update blob set check_at = now() where uri = any(released);
    end $$;
    create function check_released_uris() returns trigger language plpgsql as $$
    begin
      perform check_objects(array(select uri from gone));
      return null;
    end $$;
    create function check_replaced_uris() returns trigger language plpgsql as $$
    begin
      perform check_objects(array(select uri from gone except select uri from came));
      return null;
    end $$;
    create function check_released_results() returns trigger language plpgsql as $$
    begin
      perform check_objects(array(select result_uri from gone));
      return null;
    end $$;
    create function check_replaced_results() returns trigger language plpgsql as $$
    begin
      perform check_objects(array(select result_uri from gone except select result_uri from came));
      return null;
    end $$;
    create function check_released_pins() returns trigger language plpgsql as $$
    begin
      perform check_objects(array(select unnest(uris) from gone));
      return null;
    end $$;
    create trigger port_result_released after delete on port_result
      referencing old table as gone for each statement execute function check_released_uris();
    create trigger port_result_replaced after update on port_result
      referencing old table as gone new table as came for each statement execute function check_replaced_uris();
    create trigger console_result_released after delete on console_result
      referencing old table as gone for each statement execute function check_released_uris();
    create trigger console_result_replaced after update on console_result
      referencing old table as gone new table as came for each statement execute function check_replaced_uris();
    create trigger cache_entry_released after delete on cache_entry
      referencing old table as gone for each statement execute function check_released_results();
    create trigger cache_entry_replaced after update on cache_entry
      referencing old table as gone new table as came for each statement execute function check_replaced_results();
    create trigger cache_pin_released after delete on cache_pin
      referencing old table as gone for each statement execute function check_released_pins();

    create table cache_reservation (
      fencing         bigint generated always as identity primary key,
      project_id      text not null,
      namespace       text not null,
      subdag_hash     text not null,
      global_port_id  text not null,
      execution_id    uuid not null references execution on delete cascade,
      epoch           bigint not null,
      state           text not null default 'HELD' check (state in ('HELD', 'COMMITTED', 'LOST', 'RELEASED')),
      expires_at      timestamptz not null default now(),
      created_at      timestamptz not null default now()
    );
    create unique index cache_reservation_held on cache_reservation (project_id, namespace, subdag_hash)
      where state = 'HELD';
    create index cache_reservation_execution on cache_reservation (execution_id);

    create table cache_waiter (
      project_id      text not null,
      namespace       text not null,
      subdag_hash     text not null,
      execution_id    uuid not null references execution on delete cascade,
      epoch           bigint not null,
      global_port_id  text not null,
      since           timestamptz not null default clock_timestamp(),
      primary key (project_id, namespace, subdag_hash, execution_id)
    );
    create index cache_waiter_execution on cache_waiter (execution_id);

    create table cache_policy (
      project_id   text primary key references project on delete cascade,
      ttl_seconds  bigint not null check (ttl_seconds >= 0),
      quota_bytes  bigint not null check (quota_bytes >= 0),
      shared       boolean not null
    );

    create table execution_reuse (
      execution_id     uuid primary key references execution on delete cascade,
      regions          integer not null,
      regions_reused   integer not null,
      ports_looked_up  integer not null,
      ports_reused     integer not null,
      saved_ms         bigint not null,
      saved_bytes      bigint not null,
      decisions        jsonb not null
    );

    alter table execution add column cache jsonb not null default '{"mode": "USE", "operators": {}}';
  `);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table execution drop column cache;
    drop table execution_reuse, cache_policy, cache_waiter, cache_reservation, cache_pin;
    delete from cache_entry where not exists (select from execution where id = source_execution_id);
    drop trigger cache_entry_released on cache_entry;
    drop trigger cache_entry_replaced on cache_entry;
    drop trigger port_result_released on port_result;
    drop trigger port_result_replaced on port_result;
    drop trigger console_result_released on console_result;
    drop trigger console_result_replaced on console_result;
    drop function check_released_uris, check_replaced_uris, check_released_results, check_replaced_results,
                  check_released_pins, check_objects;
    drop index cache_entry_hash, cache_entry_uri, cache_entry_use;
    alter table cache_entry
      drop constraint cache_entry_result_uri_fkey, drop column compute_ms, drop column hit_count,
      drop column last_used_at, drop column operator_type, drop column dataset_versions, drop column shareable,
      drop column fingerprint_check,
      add constraint cache_entry_source_execution_id_fkey
        foreign key (source_execution_id) references execution on delete cascade;
    create index cache_entry_source on cache_entry (source_execution_id);
    drop index port_result_uri, console_result_uri;
    alter table port_result drop constraint port_result_uri_fkey;
    alter table console_result drop constraint console_result_uri_fkey;
    drop table blob;
  `);
}
