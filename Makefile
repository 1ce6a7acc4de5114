# make help lists the targets. All that they need beside Go, git and make they install or build themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

GO ?= go
BIN := $(CURDIR)/bin
export CGO_ENABLED ?= 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | awk -F'|' '{printf "%-10s %s\n", $$1, $$2}'

.PHONY: build
build: $(BIN)/jubako ## bin/jubako, one static binary

.PHONY: $(BIN)/jubako
$(BIN)/jubako:
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/jubako

.PHONY: install
install: ## jubako into Go's bin folder
	$(GO) install -trimpath -ldflags '-s -w -X main.version=$(VERSION)' ./cmd/jubako

.PHONY: test
test: ## the hermetic tests: no network, no root, under two minutes
	@testdata/ci/test.sh

.PHONY: race
race: ## the same under the race detector (a C compiler, and twice the time)
	@testdata/ci/test.sh race

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and the house's own rules
	@testdata/ci/lint.sh $(STATICCHECK)

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME each (10s); FUZZLONG for those of locks and wheels
	@testdata/ci/fuzz.sh $(or $(FUZZTIME),10s) $(FUZZLONG)

.PHONY: demo
demo: $(BIN)/jubako ## build and push a real Django image, pull it back, verify it
	@testdata/demo/run.sh $(BIN)/jubako

.PHONY: e2e
e2e: $(BIN)/jubako ## with a real registry, Docker, containerd, podman, skopeo, umoci and uv (root, Debian)
	@testdata/e2e/run.sh

.PHONY: oracle
oracle: $(BIN)/jubako ## uv as the oracle: the same packages, wheels and files from a lock
	@testdata/oracle/run.sh

.PHONY: bench
bench: $(BIN)/jubako ## jubako beside Docker, BuildKit, Buildah and uv, measured on this machine (hours; testdata/bench/BENCHMARKS.md)
	@testdata/bench/run.sh $(BIN)/jubako

.PHONY: limits
limits: $(BIN)/jubako ## a small project, Debian packages and steps, beside uv, apt, mmdebstrap and chroot (root, Debian; minutes)
	@testdata/bench/limits.sh $(BIN)/jubako

.PHONY: clean
clean: ## remove what make has made
	rm -rf $(BIN)
