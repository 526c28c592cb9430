#!/usr/bin/env bash
# Compiles src/ and migrations/ to dist/, and puts beside the code what is no TypeScript.
set -euo pipefail
rm -rf dist
node_modules/.bin/tsc -p tsconfig.build.json
cp src/contract/postern.binpb dist/src/contract/
find src -type f ! -name '*.ts' ! -path 'src/contract/*' | while read -r file; do
  mkdir -p "dist/$(dirname "$file")"
  cp "$file" "dist/$file"
done
