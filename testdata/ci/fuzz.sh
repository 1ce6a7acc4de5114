#!/usr/bin/env bash
# Runs every fuzz target of the tree in turn.   usage: fuzz.sh TIME
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:?usage: fuzz.sh TIME}
targets=0
# run FILE NAME. At the end of its time Go's fuzzer now and then fails with nothing but "context deadline exceeded" (a
# fault of its own: no input is at fault, and none is written down). That alone is tried again; a failing input never is.
log=$(mktemp); trap 'rm -f "$log"' EXIT
run() {
  for attempt in 1 2 3; do
    if go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x "./$(dirname "$1")" >"$log" 2>&1; then
      grep -v -E '^fuzz: elapsed' "$log" || true
      return
    fi
    if ! grep -q 'context deadline exceeded' "$log" || grep -q -E 'Failing input|panic:' "$log"; then break; fi
    echo "fuzz: the fuzzer's own deadline, at attempt $attempt; again"
  done
  cat "$log"
  return 1
}
while IFS=: read -r file name; do
  echo "fuzz: $(dirname "$file") $name, $time"
  run "$file" "$name"
  targets=$((targets + 1))
done < <(git grep -o -E 'func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
[ "$targets" != 0 ] || { echo "fuzz: no targets found" >&2; exit 1; }
echo "fuzz: $targets targets held"
