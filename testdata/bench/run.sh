#!/usr/bin/env bash
# Measures what jubako promises, on this machine, side by side with the script that a team without Docker would write
# (uv sync, tar, gzip).   run.sh JUBAKO
#   BASE=SOURCE  the base (an OCI archive, or what a registry here gives)      RUNS=5  counted runs, after one warm-up
set -euo pipefail
jubako=$(realpath "${1:?usage: run.sh JUBAKO}")
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/jubako-bench.XXXXXX")
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT
cache=${XDG_CACHE_HOME:-$HOME/.cache}/jubako-demo
uv=$(command -v uv || echo "$cache/uv/bin/uv")
[ -x "$uv" ] || { python3 -m venv "$cache/uv" && "$cache/uv/bin/pip" install -q uv; }
base=${BASE:-}
for candidate in "$cache/python-3.12-slim.oci.tar" /var/cache/jubako-e2e/python-3.12-slim.oci.tar; do
  [ -n "$base" ] || [ ! -f "$candidate" ] || base=oci-archive:$candidate
done
base=${base:-python:3.12-slim}
cp -r "$top/testdata/bento" "$work/bento"
(cd "$work/bento" && "$uv" lock -q)
"$jubako" registry serve --listen 127.0.0.1:0 --dir "$work/registry" >"$work/address" 2>/dev/null & server=$!
for _ in $(seq 50); do [ -s "$work/address" ] && break; sleep 0.1; done
registry=$(sed 's|^http://||' "$work/address")
BENCH_JUBAKO=$jubako BENCH_UV=$uv BENCH_BASE=$base BENCH_WORK=$work BENCH_REGISTRY=$registry BENCH_RUNS=${RUNS:-5} python3 "$here/bench.py"

# The limits of reading a lock: the largest real one beside this checkout.
if compgen -G "$top/../shared/locks/*/uv.lock" >/dev/null; then
  echo "the largest lock (parsing: 30 ms allowed; selection after it: 50 ms):"
  (cd "$top" && go test -run '^$' -bench LargestLock -benchtime 20x ./pkg/uvlock) | awk '/^Benchmark/ {printf "  %-10s %8.2f ms\n", substr($1, index($1, "/") + 1), $3 / 1e6}'
fi
