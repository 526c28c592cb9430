#!/usr/bin/env bash
# Makes a Python with packages below .build, once for each list of packages; nothing on the machine changes.
#   scripts/python-packages.sh          .build/python-venv: pandas, for tests of user functions over tables
#   scripts/python-packages.sh bench    .build/bench-venv: the same and pyarrow, for the yardstick of bench-executor
# Without Python, venv or a package index it says so and succeeds, and the tests that need it are pending; under CI=true
# it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  "") venv=.build/python-venv lists=(test/python/requirements.txt) ;;
  bench) venv=.build/bench-venv lists=(test/python/requirements.txt test/python/bench-requirements.txt) ;;
  *) echo "usage: scripts/python-packages.sh [bench]" >&2 && exit 2 ;;
esac

if cat "${lists[@]}" | cmp -s - "$venv/.installed"; then exit 0; fi

without() {
  echo "python packages: $1" >&2
  [ "${CI:-}" = true ] && exit 1
  exit 0
}
python3 -c 'import venv, ensurepip' 2>/dev/null ||
  without "this machine has no Python 3 with venv (Debian: apt-get install python3 python3-venv); tests over pandas are pending."

echo "installing Python packages into $venv (once)"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${lists[@]/#/--requirement=}" ||
  without "the packages of ${lists[*]} could not be installed; tests over pandas are pending."
cat "${lists[@]}" > "$venv/.installed"
