#!/usr/bin/env bash
# The hermetic tests.   test.sh [race]   With "race" under the race detector, which needs a C compiler and twice the time.
set -euo pipefail
cd "$(dirname "$0")/../.."
go mod download
flags=(-count=1)
if [ "${1:-}" = race ]; then
  if ! command -v "${CC:-gcc}" >/dev/null 2>&1; then
    echo "test: no C compiler, and the race detector needs one" >&2
    exit 1
  fi
  export CGO_ENABLED=1
  flags+=(-race)
fi
# -v lines are kept only for what was skipped, so that a skip is always seen with its reason.
log=$(mktemp); trap 'rm -f "$log"' EXIT
status=0
go test "${flags[@]}" -v ./... >"$log" 2>&1 || status=$?
if [ "$status" != 0 ]; then
  # A failure is shown with what its test printed.
  grep -v -E '^\s*(=== (RUN|PAUSE|CONT|NAME)|--- (PASS|SKIP))' "$log" | grep -v -E '^(PASS|ok|\?)\b' | sed -n 1,300p
fi
grep -E '^(ok|FAIL|panic)\b' "$log" || true
skipped=$(grep -c -E '^\s*--- SKIP' "$log" || true)
passed=$(grep -c -E '^\s*--- PASS' "$log" || true)
failed=$(grep -c -E '^\s*--- FAIL' "$log" || true)
if [ "$skipped" != 0 ]; then
  echo "skipped, and why:"
  # A test says why before it is said that it was skipped, and another may have spoken in between.
  awk '/^=== (RUN|CONT|NAME) / {test = $3} /^ +[^ ]+\.go:[0-9]+: / {why[test] = $0} /--- SKIP: / {print "  " $3; print why[$3] ? why[$3] : "    no reason given"}' "$log" | sed -n 1,60p
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
