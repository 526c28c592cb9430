-- The schema after all migrations. Written by `make schema`; never edited.

create table access_grant (
  project_id text not null,
  resource_kind text not null,
  resource_id text not null,
  subject text not null,
  permission text not null,
  granted_by text not null,
  granted_at timestamp with time zone not null default now(),
  constraint access_grant_pkey PRIMARY KEY (project_id, resource_kind, resource_id, subject),
  constraint access_grant_permission_check CHECK (permission = ANY (ARRAY['READ'::text, 'WRITE'::text])),
  constraint access_grant_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE,
  constraint access_grant_resource_kind_check CHECK (resource_kind = ANY (ARRAY['WORKFLOW'::text, 'DATASET'::text, 'COMPUTING_UNIT'::text]))
);
CREATE INDEX access_grant_subject ON public.access_grant USING btree (subject, project_id);

create table audit_log (
  id bigint not null generated always as identity,
  at timestamp with time zone not null default now(),
  actor text not null,
  action text not null,
  project_id text not null,
  resource text not null,
  detail jsonb not null,
  constraint audit_log_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_log_resource ON public.audit_log USING btree (project_id, resource, at);

create table blob (
  uri text not null,
  project_id text not null,
  execution_id uuid not null,
  row_count bigint not null,
  byte_count bigint not null,
  compute_ms bigint not null default 0,
  created_at timestamp with time zone not null default now(),
  check_at timestamp with time zone,
  constraint blob_pkey PRIMARY KEY (uri)
);
CREATE INDEX blob_check ON public.blob USING btree (check_at) WHERE (check_at IS NOT NULL);

create table cache_entry (
  project_id text not null,
  workflow_id text not null,
  global_port_id text not null,
  subdag_hash text not null,
  fingerprint_json text not null,
  result_uri text not null,
  tuple_count bigint not null,
  byte_count bigint not null,
  source_execution_id uuid not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  compute_ms bigint not null default 0,
  hit_count bigint not null default 0,
  last_used_at timestamp with time zone not null default now(),
  operator_type text not null default ''::text,
  dataset_versions text[] not null default '{}'::text[],
  shareable boolean not null default false,
  fingerprint_check bytea not null generated always as (SUBSTRING(sha512((replace(fingerprint_json, '\'::text, '\\'::text))::bytea) FROM 1 FOR 16)) stored,
  constraint cache_entry_pkey PRIMARY KEY (project_id, workflow_id, global_port_id, subdag_hash),
  constraint cache_entry_project_id_workflow_id_fkey FOREIGN KEY (project_id, workflow_id) REFERENCES workflow(project_id, id) ON DELETE CASCADE,
  constraint cache_entry_result_uri_fkey FOREIGN KEY (result_uri) REFERENCES blob(uri)
);
CREATE INDEX cache_entry_hash ON public.cache_entry USING hash ((((project_id || ' '::text) || subdag_hash)));
CREATE INDEX cache_entry_uri ON public.cache_entry USING btree (result_uri);
CREATE INDEX cache_entry_use ON public.cache_entry USING btree (project_id, last_used_at);
CREATE INDEX cache_entry_workflow ON public.cache_entry USING btree (((((hashtext(((project_id || ' '::text) || workflow_id)))::bigint << 32) | ((hashtext(subdag_hash))::bigint & '4294967295'::bigint))));
CREATE TRIGGER cache_entry_released AFTER DELETE ON cache_entry REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION check_released_results();
CREATE TRIGGER cache_entry_replaced AFTER UPDATE ON cache_entry REFERENCING OLD TABLE AS gone NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION check_replaced_results();

create table cache_pin (
  execution_id uuid not null,
  uris text[] storage external not null,
  constraint cache_pin_pkey PRIMARY KEY (execution_id),
  constraint cache_pin_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE
);
CREATE TRIGGER cache_pin_released AFTER DELETE ON cache_pin REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION check_released_pins();

create table cache_policy (
  project_id text not null,
  ttl_seconds bigint not null,
  quota_bytes bigint not null,
  shared boolean not null,
  constraint cache_policy_pkey PRIMARY KEY (project_id),
  constraint cache_policy_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE,
  constraint cache_policy_quota_bytes_check CHECK (quota_bytes >= 0),
  constraint cache_policy_ttl_seconds_check CHECK (ttl_seconds >= 0)
);

create table cache_reservation (
  fencing bigint not null generated always as identity,
  project_id text not null,
  namespace text not null,
  subdag_hash text not null,
  global_port_id text not null,
  execution_id uuid not null,
  epoch bigint not null,
  state text not null default 'HELD'::text,
  expires_at timestamp with time zone not null default now(),
  created_at timestamp with time zone not null default now(),
  constraint cache_reservation_pkey PRIMARY KEY (fencing),
  constraint cache_reservation_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE,
  constraint cache_reservation_state_check CHECK (state = ANY (ARRAY['HELD'::text, 'COMMITTED'::text, 'LOST'::text, 'RELEASED'::text]))
);
CREATE INDEX cache_reservation_execution ON public.cache_reservation USING btree (execution_id);
CREATE UNIQUE INDEX cache_reservation_held ON public.cache_reservation USING btree (project_id, namespace, subdag_hash) WHERE (state = 'HELD'::text);

create table cache_waiter (
  project_id text not null,
  namespace text not null,
  subdag_hash text not null,
  execution_id uuid not null,
  epoch bigint not null,
  global_port_id text not null,
  since timestamp with time zone not null default clock_timestamp(),
  constraint cache_waiter_pkey PRIMARY KEY (project_id, namespace, subdag_hash, execution_id),
  constraint cache_waiter_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE
);
CREATE INDEX cache_waiter_execution ON public.cache_waiter USING btree (execution_id);

create table computing_unit (
  project_id text not null,
  id text not null,
  name text not null,
  public boolean not null default false,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  constraint computing_unit_pkey PRIMARY KEY (project_id, id),
  constraint computing_unit_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE
);

create table console_result (
  execution_id uuid not null,
  operator_id text not null,
  worker integer not null,
  uri text not null,
  line_count bigint not null,
  byte_count bigint not null,
  constraint console_result_pkey PRIMARY KEY (execution_id, operator_id, worker),
  constraint console_result_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE,
  constraint console_result_uri_fkey FOREIGN KEY (uri) REFERENCES blob(uri)
);
CREATE INDEX console_result_uri ON public.console_result USING btree (uri);
CREATE TRIGGER console_result_released AFTER DELETE ON console_result REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION check_released_uris();
CREATE TRIGGER console_result_replaced AFTER UPDATE ON console_result REFERENCING OLD TABLE AS gone NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION check_replaced_uris();

create table dataset (
  id uuid not null,
  project_id text not null,
  name text not null,
  latest_version integer not null,
  public boolean not null default false,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  constraint dataset_pkey PRIMARY KEY (id),
  constraint dataset_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE,
  constraint dataset_project_id_name_key UNIQUE (project_id, name)
);

create table dataset_version (
  dataset_id uuid not null,
  version integer not null,
  content_hash text not null,
  uri text not null,
  format jsonb not null,
  schema jsonb not null,
  row_count bigint not null,
  byte_count bigint not null,
  modified_at timestamp with time zone not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  malformed_row_count bigint not null default 0,
  constraint dataset_version_pkey PRIMARY KEY (dataset_id, version),
  constraint dataset_version_dataset_id_fkey FOREIGN KEY (dataset_id) REFERENCES dataset(id) ON DELETE CASCADE,
  constraint dataset_version_version_check CHECK (version > 0)
);

create table execution (
  id uuid not null,
  project_id text not null,
  workflow_id text not null,
  workflow_version integer not null,
  computing_unit_id text not null,
  name text not null,
  state text not null,
  attempt integer not null,
  max_attempts integer not null,
  epoch bigint not null,
  queued boolean not null,
  trusted boolean not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  started_at timestamp with time zone,
  ended_at timestamp with time zone,
  failure jsonb,
  log_uri text not null default ''::text,
  statistics_uri text not null default ''::text,
  plan_digest text not null,
  last_event_number bigint not null default 0,
  last_sequence bigint not null default 0,
  executor_id text not null default ''::text,
  lease_expires_at timestamp with time zone,
  cancel_requested boolean not null default false,
  manifest_digest text,
  attachment bigint not null default 0,
  cache jsonb not null default '{"mode": "USE", "operators": {}}'::jsonb,
  constraint execution_pkey PRIMARY KEY (id),
  constraint execution_project_id_computing_unit_id_fkey FOREIGN KEY (project_id, computing_unit_id) REFERENCES computing_unit(project_id, id) ON DELETE CASCADE,
  constraint execution_project_id_workflow_id_workflow_version_fkey FOREIGN KEY (project_id, workflow_id, workflow_version) REFERENCES workflow_version(project_id, workflow_id, version) ON DELETE CASCADE,
  constraint execution_state_check CHECK (state = ANY (ARRAY['QUEUED'::text, 'PREPARED'::text, 'RUNNING'::text, 'PAUSING'::text, 'PAUSED'::text, 'RESUMING'::text, 'COMPLETING'::text, 'COMPLETED'::text, 'FAILED'::text, 'KILLED'::text]))
);
CREATE INDEX execution_by_project ON public.execution USING btree (project_id, id DESC);
CREATE INDEX execution_by_unit ON public.execution USING btree (project_id, workflow_id, computing_unit_id, id DESC);
CREATE INDEX execution_by_workflow ON public.execution USING btree (project_id, workflow_id, id DESC);
CREATE INDEX execution_live ON public.execution USING btree (id) WHERE (state = ANY (ARRAY['PREPARED'::text, 'RUNNING'::text, 'PAUSING'::text, 'PAUSED'::text, 'RESUMING'::text, 'COMPLETING'::text]));
CREATE INDEX execution_queue ON public.execution USING btree (project_id, computing_unit_id, id) WHERE (state = 'QUEUED'::text);
CREATE INDEX execution_succeeded ON public.execution USING btree (project_id, workflow_id, id DESC) WHERE ((state = 'COMPLETED'::text) AND trusted);

create table execution_command (
  command_id uuid not null,
  execution_id uuid not null,
  kind text not null,
  reason text not null,
  requested_by text not null,
  requested_at timestamp with time zone not null default now(),
  acknowledged_at timestamp with time zone,
  refused text not null default ''::text,
  attempt integer not null default 1,
  constraint execution_command_pkey PRIMARY KEY (command_id),
  constraint execution_command_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE,
  constraint execution_command_kind_check CHECK (kind = ANY (ARRAY['CANCEL'::text, 'PAUSE'::text, 'RESUME'::text, 'KILL'::text]))
);
CREATE INDEX execution_command_of ON public.execution_command USING btree (execution_id, attempt);
CREATE INDEX execution_command_pending ON public.execution_command USING btree (execution_id, requested_at) WHERE (acknowledged_at IS NULL);

create table execution_event (
  execution_id uuid not null,
  number bigint not null,
  attempt integer not null,
  sequence bigint not null,
  occurred_at timestamp with time zone not null,
  kind text not null,
  body bytea not null,
  constraint execution_event_pkey PRIMARY KEY (execution_id, number)
);

create table execution_plan (
  execution_id uuid not null,
  plan jsonb not null,
  constraint execution_plan_pkey PRIMARY KEY (execution_id),
  constraint execution_plan_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE
);

create table execution_reuse (
  execution_id uuid not null,
  regions integer not null,
  regions_reused integer not null,
  ports_looked_up integer not null,
  ports_reused integer not null,
  saved_ms bigint not null,
  saved_bytes bigint not null,
  decisions jsonb not null,
  constraint execution_reuse_pkey PRIMARY KEY (execution_id),
  constraint execution_reuse_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE
);

create table lease_watch (
  singleton boolean not null default true,
  watching_since timestamp with time zone not null,
  watched_at timestamp with time zone not null,
  constraint lease_watch_pkey PRIMARY KEY (singleton),
  constraint lease_watch_singleton_check CHECK (singleton)
);

create table operator_statistics (
  execution_id uuid not null,
  operator_id text not null,
  layer text not null,
  state text not null,
  input_rows bigint,
  output_rows bigint,
  output_bytes bigint not null,
  busy_ms bigint not null,
  progress double precision,
  peak_memory_bytes bigint not null,
  malformed_rows bigint not null default 0,
  constraint operator_statistics_pkey PRIMARY KEY (execution_id, operator_id, layer),
  constraint operator_statistics_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE
);

create table port_result (
  execution_id uuid not null,
  global_port_id text not null,
  operator_id text not null,
  layer text not null,
  port_id integer not null,
  internal boolean not null,
  input boolean not null,
  uri text not null,
  row_count bigint not null,
  byte_count bigint not null,
  schema jsonb not null,
  subdag_hash text not null,
  viewed boolean not null,
  attempt integer not null,
  registered_at timestamp with time zone not null default now(),
  constraint port_result_pkey PRIMARY KEY (execution_id, global_port_id),
  constraint port_result_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id) ON DELETE CASCADE,
  constraint port_result_uri_fkey FOREIGN KEY (uri) REFERENCES blob(uri)
);
CREATE INDEX port_result_logical ON public.port_result USING btree (execution_id, operator_id, port_id);
CREATE INDEX port_result_uri ON public.port_result USING btree (uri);
CREATE TRIGGER port_result_released AFTER DELETE ON port_result REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION check_released_uris();
CREATE TRIGGER port_result_replaced AFTER UPDATE ON port_result REFERENCING OLD TABLE AS gone NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION check_replaced_uris();

create table project (
  id text not null,
  name text not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  constraint project_pkey PRIMARY KEY (id)
);

create table project_member (
  project_id text not null,
  subject text not null,
  role text not null,
  constraint project_member_pkey PRIMARY KEY (project_id, subject),
  constraint project_member_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE,
  constraint project_member_role_check CHECK (role = ANY (ARRAY['VIEWER'::text, 'EDITOR'::text, 'OWNER'::text]))
);
CREATE INDEX project_member_subject ON public.project_member USING btree (subject);

create table request_reply (
  subject text not null,
  project_id text not null,
  request_id text not null,
  method text not null,
  request_digest text not null,
  reply bytea not null,
  created_at timestamp with time zone not null default now(),
  constraint request_reply_pkey PRIMARY KEY (subject, project_id, request_id)
);
CREATE INDEX request_reply_age ON public.request_reply USING btree (created_at);

create table workflow (
  project_id text not null,
  id text not null,
  latest_version integer not null,
  public boolean not null default false,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  constraint workflow_pkey PRIMARY KEY (project_id, id),
  constraint workflow_project_id_fkey FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE
);

create table workflow_version (
  project_id text not null,
  workflow_id text not null,
  version integer not null,
  plan jsonb not null,
  digest text not null,
  comment text not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  constraint workflow_version_pkey PRIMARY KEY (project_id, workflow_id, version),
  constraint workflow_version_project_id_workflow_id_fkey FOREIGN KEY (project_id, workflow_id) REFERENCES workflow(project_id, id) ON DELETE CASCADE,
  constraint workflow_version_version_check CHECK (version > 0)
);

CREATE OR REPLACE FUNCTION public.check_objects(released text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
    begin
      -- In one order, so that those who let go of the same objects at the same time do not wait for each other.
      perform from blob where uri = any(released) order by uri for no key update;
      update blob set check_at = now() where uri = any(released);
    end $function$;

CREATE OR REPLACE FUNCTION public.check_released_pins()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      perform check_objects(array(select unnest(uris) from gone));
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.check_released_results()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      perform check_objects(array(select result_uri from gone));
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.check_released_uris()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      perform check_objects(array(select uri from gone));
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.check_replaced_results()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      perform check_objects(array(select result_uri from gone except select result_uri from came));
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.check_replaced_uris()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      perform check_objects(array(select uri from gone except select uri from came));
      return null;
    end $function$;
