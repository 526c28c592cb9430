#!/usr/bin/env bash
# Proves the contract with a client of another toolchain: Python stubs generated from proto/, stock health checking and
# stock reflection, against a real `postern dev`. Installs what it needs below .build; nothing on the machine changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=test/interop
venv=.build/interop-venv
stubs=.build/interop-stubs

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "make interop needs Python 3 with venv: install python3 and python3-venv (Debian: apt-get install python3-venv)." >&2
  exit 1
fi
if ! cmp -s "$here/requirements.txt" "$venv/.installed"; then
  echo "interop: installing Python packages (once)"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/.installed"
fi

rm -rf "$stubs"
mkdir -p "$stubs"
find proto/postern proto/google/rpc -name '*.proto' -print0 |
  xargs -0 "$venv/bin/python" -m grpc_tools.protoc -Iproto --python_out="$stubs" --grpc_python_out="$stubs"

PYTHONPATH="$stubs" "$venv/bin/python" "$here/interop.py"
