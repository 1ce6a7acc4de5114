#!/usr/bin/env bash
# Runs every fuzz target of the tree, as many at once as there are cores.
#   fuzz.sh TIME [LONG]    TIME for each; LONG for those that read what strangers wrote into a lock or a wheel
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:?usage: fuzz.sh TIME [LONG]}
long=${2:-$time}
# The lock files, markers, versions, wheels' names, RECORD, entry points, METADATA, zips and DEFLATE streams.
strangers='FuzzParseLock|pylock FuzzParse|FuzzLoad|FuzzMarker|FuzzVersion|FuzzFilename|FuzzRecord|FuzzEntryPoints|FuzzMetadata|FuzzZip|FuzzInflate'

# one FOLDER NAME TIME. At the end of its time Go's fuzzer now and then fails with nothing but "context deadline exceeded" (a
# fault of its own: no input is at fault, and none is written down). That alone is tried again; a failing input never is.
one() {
  local log attempt
  log=$(mktemp)
  for attempt in 1 2 3; do
    if go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 10x -parallel 1 "./$1" >"$log" 2>&1; then
      echo "fuzz: $1 $2, $3: $(grep -o -E 'execs: [0-9]+' "$log" | tail -n 1)"
      rm -f "$log"
      return
    fi
    if ! grep -q 'context deadline exceeded' "$log" || grep -q -E 'Failing input|panic:' "$log"; then break; fi
    echo "fuzz: $1 $2: the fuzzer's own deadline, at attempt $attempt; again"
  done
  echo "fuzz: $1 $2 FAILED"
  cat "$log"
  rm -f "$log"
  return 255 # which ends xargs
}
export -f one

targets=$(git grep -o -E 'func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed -E 's|/[^/]*:func | |' | while read -r folder name; do
  t=$time
  if grep -q -E "($strangers)\$" <<<"$(basename "$folder") $name"; then t=$long; fi
  echo "$folder $name $t"
done | sort -k3,3r -s)
[ -n "$targets" ] || { echo "fuzz: no targets found" >&2; exit 1; }
go vet ./... # compiles once what every target needs
xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' one <<<"$targets"
echo "fuzz: $(wc -l <<<"$targets") targets held"
