#!/usr/bin/env bash
# The hermetic tests. With a C compiler, under the race detector; elsewhere without, and that is said.
set -euo pipefail
cd "$(dirname "$0")/../.."
go mod download
flags=(-count=1)
if command -v "${CC:-gcc}" >/dev/null 2>&1; then
  export CGO_ENABLED=1
  flags+=(-race)
else
  echo "test: no C compiler, so the race detector is left out" >&2
fi
# -v lines are kept only for what was skipped, so that a skip is always seen with its reason.
log=$(mktemp); trap 'rm -f "$log"' EXIT
status=0
go test "${flags[@]}" -v ./... >"$log" 2>&1 || status=$?
if [ "$status" != 0 ]; then
  # A failure is shown with what its test printed.
  grep -v -E '^(=== (RUN|PAUSE|CONT|NAME)|\s*--- (PASS|SKIP))' "$log" | grep -v -E '^(PASS|ok|\?)\b' | head -n 300
fi
grep -E '^(ok|FAIL|panic)\b' "$log" || true
skipped=$(grep -c -E '^\s*--- SKIP' "$log" || true)
passed=$(grep -c -E '^\s*--- PASS' "$log" || true)
failed=$(grep -c -E '^\s*--- FAIL' "$log" || true)
if [ "$skipped" != 0 ]; then
  echo "skipped, and why:"
  grep -A1 -E '^\s*--- SKIP' "$log" | grep -v -E '^--$' | head -n 60
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
