#!/usr/bin/env bash
# Runs every fuzz target of the tree in turn.   usage: fuzz.sh TIME
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:?usage: fuzz.sh TIME}
targets=0
while IFS=: read -r file name; do
  [ "$targets" = 0 ] || echo
  echo "fuzz: $(dirname "$file") $name, $time"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 10x "./$(dirname "$file")" | grep -v -E '^fuzz: elapsed' || exit 1
  targets=$((targets + 1))
done < <(git grep -o -E 'func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
[ "$targets" != 0 ] || { echo "fuzz: no targets found" >&2; exit 1; }
echo "fuzz: $targets targets held"
