#!/usr/bin/env bash
# jubako against the real things: a registry server, Docker Engine, containerd, podman, buildah, skopeo, umoci and uv.
# Root and Debian; it installs what is missing, starts its own servers with their own folders and sockets, and stops
# them at the end. Arguments go to go test: `testdata/e2e/run.sh -run Docker`.
#
#   E2E_BASE=FILE     an OCI archive of a python:3.12-slim, where none is to be made
#   E2E_FULL=1        everything: all sets of packages, not every second, and bytecode twenty times, not four
#   E2E_CACHE=DIR     keeps what is slow to make between runs (the base, uv, locks)
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "e2e: needs root, to start Docker and containerd of its own" >&2; exit 1; }
cache=${E2E_CACHE:-/var/cache/jubako-e2e}
mkdir -p "$cache"
. testdata/ci/work.sh
new_work /var/tmp jubako-e2e

say() { printf 'e2e: %s\n' "$*" >&2; }

# What the tests need, by the program that shows it is there.
declare -A packages=(
  [dockerd]=docker.io [containerd]=containerd [runc]=runc [podman]=podman [buildah]=buildah [skopeo]=skopeo [umoci]=umoci
  [docker-registry]=docker-registry [crun]=crun [iptables]=iptables [ip]=iproute2 [pigz]=pigz [curl]=curl [python3]=python3 [jq]=jq [setpriv]=util-linux
)
missing=()
for program in "${!packages[@]}"; do command -v "$program" >/dev/null || missing+=("${packages[$program]}"); done
# From Debian 13 on the client is a package of its own, and what it builds with another.
for client in docker-cli docker-buildx; do
  command -v docker >/dev/null || ! apt-cache show "$client" >/dev/null 2>&1 || missing+=("$client")
done
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} != 0 ]; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 || { tail -n 30 "$work/apt.log" >&2; exit 1; }
fi

# uv, the oracle, from the index.
if [ ! -x "$cache/uv/bin/uv" ]; then
  say "installing uv"
  python3 -m venv "$cache/uv" && "$cache/uv/bin/pip" install -q "uv==0.13.9"
fi

# A Python of the base's minor version, by which uv builds from source. Where the machine has none, that comparison is skipped.
python=
for p in "$HOME"/.pyenv/versions/3.12.*/bin/python3.12 /usr/local/bin/python3.12 /usr/bin/python3.12; do
  if [ -z "$python" ] && [ -x "$p" ] && "$p" -I -c '' 2>/dev/null; then python=$p; fi
done
[ -n "$python" ] || python=$(UV_PYTHON_DOWNLOADS=never "$cache/uv/bin/uv" python find -q --no-project 3.12 2>/dev/null || true)

# The base.
base=${E2E_BASE:-$cache/python-3.12-slim.oci.tar}
if [ ! -f "$base" ]; then
  maker=${MAKE_BASE:-../shared/base/make-python-slim}
  if [ -x "$maker" ]; then
    say "making a stand-in for python:3.12-slim"
    "$maker" "$base.tmp" >"$work/base.log" 2>&1 || { tail -n 20 "$work/base.log" >&2; exit 1; }
  elif ! skopeo copy -q docker://python:3.12-slim "oci-archive:$base.tmp:python:3.12-slim"; then
    echo "e2e: no base: set E2E_BASE to an OCI archive of python:3.12-slim" >&2
    exit 1
  fi
  mv "$base.tmp" "$base"
fi

registry=127.0.0.1:$(free_port)
cat >"$work/registry.yml" <<X
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
http: {addr: $registry}
X
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 & pids+=($!)

start_containerd
new_bridge
dockerd --bridge "$bridge" --data-root "$work/docker" --exec-root "$work/docker-exec" --pidfile "$work/docker.pid" --containerd "$work/containerd.sock" \
  -H "unix://$work/docker.sock" --storage-driver overlay2 >"$work/dockerd.log" 2>&1 & pids+=($!)
wait_for registry curl -fsS "http://$registry/v2/"
wait_for dockerd docker -H "unix://$work/docker.sock" version

export E2E_JUBAKO=$PWD/bin/jubako E2E_REGISTRY=$registry E2E_BASE=$base E2E_UV=$cache/uv/bin/uv E2E_CACHE=$cache E2E_WORK=$work E2E_PYTHON=$python
E2E_DOCKER_BUILD=docker; [ ! -x /usr/bin/docker ] || E2E_DOCKER_BUILD=/usr/bin/docker # Debian's client has BuildKit built in
export E2E_DOCKER_BUILD
export E2E_CONTAINERD=$work/containerd.sock DOCKER_HOST=unix://$work/docker.sock
say "docker $(docker version -f '{{.Server.Version}}'), containerd $(containerd --version | cut -d' ' -f3), $(podman --version), $(skopeo --version), $(umoci --version), $("$E2E_UV" --version | cut -d'(' -f1)"
go test -tags e2e -count=1 -parallel 3 -timeout 60m -v ./testdata/e2e "$@"

# uv as the oracle, unless only some of the tests above were wanted.
[ $# != 0 ] || E2E_CACHE=$cache testdata/oracle/run.sh
