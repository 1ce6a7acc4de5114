#!/usr/bin/env bash
# gofmt, go vet, staticcheck, and the rules that no linter knows.   usage: lint.sh STATICCHECK@VERSION
set -euo pipefail
cd "$(dirname "$0")/../.."
status=0
complain() { echo "lint: $*" >&2; status=1; }

unformatted=$(git ls-files -z '*.go' | xargs -0 -r gofmt -l)
[ -z "$unformatted" ] || complain "not gofmt-clean: $unformatted"
go vet ./... || status=1
go vet -tags e2e ./testdata/e2e || status=1
go vet -tags oracle ./testdata/oracle || status=1
go run "$1" ./... || status=1
go run "$1" -tags e2e ./testdata/e2e || status=1
go run "$1" -tags oracle ./testdata/oracle || status=1

# A registry's host in a committed file would tie jubako to one place of the ecosystem.
hosts='py''pi\.org|python''hosted\.org|deb\.deb''ian\.org|proxy\.gol''ang\.org|registry\.np''mjs\.org|docker''\.io/'
named=$(git grep -l -i -E "$hosts" -- . || true)
[ -z "$named" ] || complain "a package registry's host is named in: $named"
exits=$(git grep -n -E 'os\.Exit|log\.Fatal' -- 'pkg/*.go' 'layers/*.go' | grep -v -E '_test\.go|/testdata/' || true)
[ -z "$exits" ] || complain "exits outside cmd: $exits"
long=$(git ls-files '*.go' | xargs wc -l | awk '$2 != "total" && $1 > 500 {print $2 " (" $1 ")"}')
[ -z "$long" ] || complain "files over 500 lines: $long"
top=$(git ls-files | cut -d/ -f1 | sort -u | grep -v -x -E '\..*|cmd|pkg|layers|testdata|go\.mod|go\.sum|Makefile|README\.md|LICENSE' || true)
[ -z "$top" ] || complain "at the top level, beyond the fixed layout: $top"
before=$(cat go.mod go.sum | sha256sum)
go mod tidy
[ "$before" = "$(cat go.mod go.sum | sha256sum)" ] || complain "go.mod and go.sum are not tidy"
[ "$status" != 0 ] || echo "lint: clean"
exit "$status"
