#!/usr/bin/env bash
# Measures jubako beside what a Python team can pick today, in one run on this machine.   run.sh JUBAKO
# What it installs and downloads it keeps, so that a second run starts at once. Docker, Buildah and BuildKit need root; without it
# they are left out, and that is said.
#
#   RUNS=5             counted runs of each, in turn, after a warm-up
#                      (RUNS=0: each once, to see that it runs; no figure of it is worth anything)
#   SCENARIO="…"       some of: venv cold nothing view setting bump fresh base services_cold services_one
#   CONTENDERS="…"     some of: jubako jubako-nostatic buildkit-tuned buildkit docker buildah uv-gzip uv-pigz uv-zstd pyoci
#                      and, for SCENARIO=venv: jubako-venv venv-gzip venv-pigz venv-zstd
#   SERVICES=50        how many services the monorepo of services_cold and services_one has
#   LARGE=1            the large project: scipy, pyarrow, polars and the like
#   CHECK=1            jubako alone; fails where a ratio to the floor has grown beyond limits.json (CHECK=set: this run sets them)
#   PUBLISH=1          writes BENCHMARKS.md and results/ here, each scenario as soon as it is measured, in the place of what was published of it;
#                      else the results go to OUT (a folder in the cache)
#   BASE=ARCHIVE       an OCI archive of python:3.12-slim, where none is to be made
#   INDEX=URL          the index's simple API (default: pip's)
set -euo pipefail
jubako=$(realpath "${1:?usage: run.sh JUBAKO}")
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
root=$([ "$(id -u)" = 0 ] && echo 1 || echo 0)
cache=${XDG_CACHE_HOME:+$XDG_CACHE_HOME/jubako-bench}
cache=${cache:-$([ "$root" = 1 ] && echo /var/cache/jubako-bench || echo "$HOME/.cache/jubako-bench")}
mkdir -p "$cache"/{bin,index}
. "$top/testdata/ci/work.sh"
new_work "${BENCH_TMP:-/var/tmp}" jubako-bench
say() { printf 'bench: %s\n' "$*" >&2; }
free=$(df -k --output=avail "$work" | tail -n 1)
[ -n "${CONTENDERS:-}${CHECK:-}" ] || [ "$free" -gt 30000000 ] || say "the engines keep up to 25 GB of what they make, and $work has $((free / 1000000)) GB: choose with CONTENDERS, or set BENCH_TMP"

# Programs. A contender that cannot be had is left out by bench.py, which says so.
if [ "$root" = 1 ]; then
  declare -A packages=([dockerd]=docker.io [containerd]=containerd [runc]=runc [buildah]=buildah [docker-registry]=docker-registry [crun]=crun [iptables]=iptables [pigz]=pigz [zstd]=zstd)
  missing=()
  for program in "${!packages[@]}"; do command -v "$program" >/dev/null || missing+=("${packages[$program]}"); done
  if [ ${#missing[@]} != 0 ]; then
    say "installing ${missing[*]}"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; say "going on without them"; }
  fi
fi
python=
for p in ${BENCH_PYTHON:-} "$HOME"/.pyenv/versions/3.12.*/bin/python3.12 /usr/local/bin/python3.12 /usr/bin/python3.12; do
  [ -n "$python" ] || ! "$p" -I -c 'import venv, ensurepip' 2>/dev/null || python=$p
done
[ -n "$python" ] || { say "no Python 3.12 here, which the contenders without an engine build with (BENCH_PYTHON names one)"; exit 1; }
[ -x "$cache/tools/bin/uv" ] || { say "installing uv"; "$python" -m venv "$cache/tools" && "$cache/tools/bin/pip" install -q "uv==${UV_VERSION:-0.13.9}"; }
[ -e "$cache/tools/lib/python3.12/site-packages/pyoci" ] || { say "installing pyoci"; "$cache/tools/bin/pip" install -q "pyoci==${PYOCI_VERSION:-0.2.1}" || say "pyoci cannot be had"; }
crane_version=v0.22.1
if [ ! -x "$cache/bin/crane" ]; then
  say "building crane $crane_version"
  GOBIN=$cache/bin CGO_ENABLED=0 go install "github.com/google/go-containerregistry/cmd/crane@$crane_version"
fi
# go install refuses a module with exclude directives, as BuildKit's newest have: built in its own folder it is the release's own build.
buildkit_version=${BUILDKIT_VERSION:-$(cat "$cache/buildkit" 2>/dev/null || go list -m -f '{{.Version}}' github.com/moby/buildkit@latest)}
if [ ! -x "$cache/bin/buildkitd" ] || [ "$(cat "$cache/buildkit" 2>/dev/null)" != "$buildkit_version" ]; then
  say "building BuildKit $buildkit_version (some minutes)"
  source=$(go mod download -json "github.com/moby/buildkit@$buildkit_version" | "$python" -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  flags="-X github.com/moby/buildkit/version.Version=$buildkit_version"
  if CGO_ENABLED=0 go build -C "$source" -ldflags "-s -w $flags" -o "$cache/bin/" ./cmd/buildctl ./cmd/buildkitd; then echo "$buildkit_version" >"$cache/buildkit"; else say "BuildKit does not build"; fi
fi
(cd "$top" && CGO_ENABLED=0 go build -o "$work/" ./testdata/bench/link ./testdata/bench/floor)

# The base, as a folder of blobs.
archive=${BASE:-}
for candidate in "$cache/python-3.12-slim.oci.tar" /var/cache/jubako-e2e/python-3.12-slim.oci.tar; do
  [ -n "$archive" ] || [ ! -f "$candidate" ] || archive=$candidate
done
if [ -z "$archive" ]; then
  maker=$top/../shared/base/make-python-slim
  archive=$cache/python-3.12-slim.oci.tar
  if [ "$root" = 1 ] && [ -x "$maker" ]; then
    say "making a stand-in for python:3.12-slim"
    "$maker" "$archive.new" >"$work/base.log" 2>&1 || { tail -n 20 "$work/base.log" >&2; exit 1; }
  elif "$cache/bin/crane" pull --format oci --platform "linux/$(go env GOARCH)" python:3.12-slim "$work/slim"; then
    tar -C "$work/slim" -cf "$archive.new" .
  else
    say "no base: set BASE to an OCI archive of python:3.12-slim"
    exit 1
  fi
  mv "$archive.new" "$archive"
fi
mkdir "$work/base" && tar -C "$work/base" -xf "${archive#oci-archive:}"

# The registry, and the line in front of it and of the index.
registry=127.0.0.1:$(free_port)
store=$work/registry
if command -v docker-registry >/dev/null; then
  printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s, relativeurls: true}\n' "$store" "$registry" >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 & pids+=($!)
  registry_version="docker-registry $(dpkg-query -W -f '${Version}' docker-registry 2>/dev/null || true)"
else
  "$jubako" registry serve --listen "$registry" --dir "$store" >"$work/registry.log" 2>&1 & pids+=($!)
  registry_version="jubako registry serve"
fi
index=${INDEX:-${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$("$cache/tools/bin/python" -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')}}}
"$work/link" -registry "$registry" -index "$index" -cache "$cache/index" -ca "$work/ca.pem" -ports "0,0,0,0" >"$work/addresses" 2>"$work/link.log" & pids+=($!)
wait_for link test -s "$work/addresses"
address() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/addresses" "$1"; }
front=$(address registry)
wait_for registry "$python" -c "import urllib.request; urllib.request.urlopen('http://$registry/v2/')"
"$cache/bin/crane" push --insecure "$work/base" "$front/library/python:3.12-slim" >"$work/push.log" 2>&1 || { cat "$work/push.log" >&2; exit 1; }
mkdir "$work/uv" && cp "$cache"/tools/bin/{uv,uvx} "$work/uv/" && tar -C "$work/uv" --owner=0 --group=0 -cf "$work/uv.tar" uv uvx
"$cache/bin/crane" append --insecure -f "$work/uv.tar" -t "$front/bench/uv:1" >"$work/push.log" 2>&1 || { cat "$work/push.log" >&2; exit 1; }

# Daemons, each with its own folders and sockets, and only where a contender asks for it.
wanted() { [ -z "${CHECK:-}" ] && { [ -z "${CONTENDERS:-}" ] || [[ " $CONTENDERS " == *" $1 "* ]]; }; }
buildkit='' buildkit_tuned='' dockerd='' containerd=''
start_buildkit() { # NAME: a daemon for each Dockerfile, so that neither finds what the other has pulled
  printf 'root = "%s/%s"\ninsecure-entitlements = ["network.host"]\n[grpc]\naddress = ["unix://%s/%s.sock"]\n[worker.oci]\nnetworkMode = "host"\ngc = false\n[worker.containerd]\nenabled = false\n[registry."%s"]\nhttp = true\n' \
    "$work" "$1" "$work" "$1" "$front" >"$work/$1.toml"
  "$cache/bin/buildkitd" --config "$work/$1.toml" >"$work/$1.log" 2>&1 & pids+=($!)
  wait_for "$1" "$cache/bin/buildctl" --addr "unix://$work/$1.sock" debug workers
}
if [ "$root" = 1 ] && [ -x "$cache/bin/buildkitd" ]; then
  if wanted buildkit; then start_buildkit buildkitd && buildkit=${pids[-1]}; fi
  if wanted buildkit-tuned; then start_buildkit buildkitd-tuned && buildkit_tuned=${pids[-1]}; fi
fi
if [ "$root" = 1 ] && wanted docker && command -v dockerd >/dev/null && command -v docker >/dev/null; then
  start_containerd
  containerd=${pids[-1]}
  dockerd --data-root "$work/docker" --exec-root "$work/docker-exec" --pidfile "$work/docker.pid" --containerd "$work/containerd.sock" --bridge none --iptables=false \
    -H "unix://$work/docker.sock" --storage-driver overlay2 >"$work/dockerd.log" 2>&1 & pids+=($!); dockerd=$!
  docker=$([ -x /usr/bin/docker ] && echo /usr/bin/docker || command -v docker) # Debian's client has BuildKit built in
  wait_for dockerd "$docker" -H "unix://$work/docker.sock" version || dockerd=
fi

if [ "${PUBLISH:-}" = 1 ]; then out=$here/results; else out=${OUT:-$cache/results}; fi
mkdir -p "$out"
set -a
BENCH_JUBAKO=$jubako BENCH_UV=$cache/tools/bin/uv BENCH_PYTHON=$python BENCH_PYOCI_PYTHON=$cache/tools/bin/python BENCH_CRANE=$cache/bin/crane
BENCH_CRANE_VERSION=$crane_version BENCH_BUILDCTL=$cache/bin/buildctl BENCH_BUILDKITD=$buildkit BENCH_BUILDKITD_TUNED=$buildkit_tuned BENCH_BUILDKIT_VERSION=$buildkit_version
BENCH_DOCKER=${docker:-docker} BENCH_DOCKER_HOST=unix://$work/docker.sock BENCH_DOCKERD=$dockerd BENCH_CONTAINERD=$containerd BENCH_FLOOR=$work/floor
BENCH_REGISTRY=$front BENCH_TLS=$(address tls) BENCH_CONTROL=$(address control) BENCH_STORE=$store BENCH_CA=$work/ca.pem BENCH_REGISTRY_VERSION=$registry_version
BENCH_CACHE=$cache BENCH_WORK=$work BENCH_HERE=$here BENCH_OUT=$out UV_DEFAULT_INDEX=http://$(address index)/simple PYTHONDONTWRITEBYTECODE=1
set +a
status=0
"$python" "$here/bench.py" & pids+=($!)
wait $! || status=$?

# The limits of reading a lock: the largest real one beside this checkout.
if [ -z "${SCENARIO:-}" ] && compgen -G "$top/../shared/locks/*/uv.lock" >/dev/null; then
  echo "the largest lock (parsing: 30 ms allowed; selection after it: 50 ms):"
  (cd "$top" && UV_DEFAULT_INDEX='' go test -run '^$' -bench LargestLock -benchtime 20x ./pkg/uvlock) | awk '/^Benchmark/ {printf "  %-10s %8.2f ms\n", substr($1, index($1, "/") + 1), $3 / 1e6}'
fi
exit "$status"
