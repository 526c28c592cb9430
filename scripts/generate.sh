#!/usr/bin/env bash
# Makes TypeScript and the descriptor set from proto/ into the folder named.
set -euo pipefail
out=$1
mkdir -p "$(dirname "$out")"
tmp=$(mktemp -d "$(dirname "$out")/.generating.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
sed "s|out: src/contract|out: $tmp/contract|" buf.gen.yaml >"$tmp/buf.gen.yaml"
node_modules/.bin/buf generate --template "$tmp/buf.gen.yaml"
node_modules/.bin/buf build -o "$tmp/contract/postern.binpb"
rm -rf "$out"
mv "$tmp/contract" "$out"
