#!/usr/bin/env bash
# uv as the oracle: what it selects and installs from a lock, jubako selects and installs. Needs Go, Python with venv, an
# index, and either root or user namespaces; installs uv from the index. Arguments go to go test: `-run Install/extras`.
#
#   ORACLE_LOCKS=DIR   folders with pyproject.toml and uv.lock (../shared/locks)
#   E2E_CACHE=DIR      keeps uv, its cache and the locks between runs
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${E2E_CACHE:-/var/cache/jubako-e2e}
mkdir -p "$cache" 2>/dev/null || cache=${XDG_CACHE_HOME:-$HOME/.cache}/jubako-e2e
mkdir -p "$cache/oracle"
. testdata/ci/work.sh
new_work /var/tmp jubako-oracle
mkdir "$work/tree"
# Environments come and go by the gigabyte: in memory, where there is enough of it.
if [ "$(id -u)" = 0 ] && [ "$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)" -gt 12000000 ]; then mount -t tmpfs -o size=8g jubako-oracle "$work/tree" 2>/dev/null || true; fi
say() { printf 'oracle: %s\n' "$*" >&2; }

if [ ! -x "$cache/uv/bin/uv" ]; then
  say "installing uv"
  python3 -m venv "$cache/uv" && "$cache/uv/bin/pip" install -q "uv==0.13.9"
fi
uv=$cache/uv/bin/uv

# One CPython of each minor version that the comparison is to see, wherever the machine has it.
pythons=()
for minor in 11 12 13; do
  found=
  for p in "$HOME"/.pyenv/versions/3.$minor.*/bin/python3.$minor /usr/local/bin/python3.$minor /usr/bin/python3.$minor; do
    if [ -x "$p" ] && "$p" -I -c '' 2>/dev/null; then found=$p; break; fi
  done
  [ -n "$found" ] || found=$(UV_PYTHON_DOWNLOADS=never "$uv" python find -q --no-project "3.$minor" 2>/dev/null || true)
  if [ -n "$found" ]; then pythons+=("$found"); else say "no Python 3.$minor here: what it would show is skipped"; fi
done
[ ${#pythons[@]} != 0 ] || { say "no Python 3.11, 3.12 or 3.13 here"; exit 1; }

export ORACLE_UV=$uv ORACLE_JUBAKO=$PWD/bin/jubako ORACLE_WORK=$work/tree ORACLE_CACHE=$cache/oracle
export ORACLE_PYTHONS="${pythons[*]}" ORACLE_LOCKS=${ORACLE_LOCKS:-$PWD/../shared/locks}
export UV_CACHE_DIR=$cache/oracle/uv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1
unset PYENV_VERSION VIRTUAL_ENV UV_PYTHON
say "$("$uv" --version | cut -d'(' -f1), Pythons: ${pythons[*]}"
go test -tags oracle -count=1 -parallel 2 -timeout 60m -v ./testdata/oracle "$@" | sed -E "/^(=== (RUN|PAUSE|CONT|NAME)|    --- PASS)/d"
