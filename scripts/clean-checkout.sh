#!/usr/bin/env bash
# Runs a command in a clean copy of the work tree (what git tracks or would track), with an empty package cache and
# nothing of the caller's environment but PATH, HOME, and CI.
set -euo pipefail
copy=$(mktemp -d "${TMPDIR:-/tmp}/postern-checkout.XXXXXX")
trap 'rm -rf "$copy"' EXIT
chmod 755 "$copy"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  [ -e "$file" ] && printf '%s\0' "$file"
done | tar --null --files-from=- -cf - | tar -xf - -C "$copy"
mkdir "$copy/.npm-cache"
echo "clean checkout: $*"
status=0
(cd "$copy" && env -i PATH="$PATH" HOME="$HOME" CI="${CI:-}" npm_config_cache="$copy/.npm-cache" "$@") || status=$?
if [ -f "$copy/.build/test-counts.json" ]; then
  mkdir -p .build && cp "$copy/.build/test-counts.json" .build/
fi
exit $status
