#!/usr/bin/env bash
# Says what to do when Node is missing or too old, before npm says it at length.
set -euo pipefail
if ! command -v node >/dev/null; then
  echo "Postern needs Node 20.19 or newer and npm: install them from https://nodejs.org and run this again." >&2
  exit 1
fi
node -e '
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) process.exit(0);
  console.error(`Postern needs Node 20.19 or newer; this is ${process.version}.`);
  process.exit(1);'
