#!/usr/bin/env bash
# Starts a migration file with the header to fill in.
set -euo pipefail
name=${1:-}
if ! [[ $name =~ ^[a-z][a-z0-9_]*$ ]]; then
  echo "Say what it does: make migration name=add_lease_epoch" >&2
  exit 2
fi
file=migrations/$(date -u +%Y%m%d%H%M%S)_$name.ts
cat >"$file" <<'MIGRATION'
// Why this change, and which query each index serves.
import type { Knex } from "knex";

export async function up(knex: Knex): Promise<void> {
  await knex.raw(``);
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(``);
}
MIGRATION
echo "$file"
