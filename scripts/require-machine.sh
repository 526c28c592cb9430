#!/usr/bin/env bash
# Installs what a new Debian machine may lack for `make check`: make, Python with venv. Says what to do elsewhere.
set -euo pipefail
missing=()
command -v make >/dev/null || missing+=(make)
command -v python3 >/dev/null || missing+=(python3)
if command -v python3 >/dev/null && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then missing+=(python3-venv); fi
if [ "${#missing[@]}" -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
  else
    echo "make check needs ${missing[*]}: install with your package manager (as root: apt-get install ${missing[*]})." >&2
    exit 1
  fi
fi
"$(dirname "$0")/require-node.sh"
