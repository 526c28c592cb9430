// What the bench fills cache entries with, by SQL.

export const ENTRY_COLUMNS = `project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri, tuple_count,
  byte_count, source_execution_id, operator_type, compute_ms`;

/** As much as a filter's or a join's. */
export const FINGERPRINT_BYTES = 420;
