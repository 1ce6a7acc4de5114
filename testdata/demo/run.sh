#!/usr/bin/env bash
# The demo: a real Django project becomes an image in a registry on this machine, without Docker, and comes back.
#   run.sh JUBAKO            BASE=SOURCE names a base other than python:3.12-slim from its registry
# Where no registry can be reached, the base is made of Debian packages (from DEB_MIRROR, or where this machine's apt has its own).
# It needs git, an index of Python packages, and uv, which makes the project's lock as its owner would; where there is no uv, python3 with venv
# installs it. uv takes a Python 3.12 or 3.13 of this machine, or fetches one.
set -euo pipefail
jubako=$(realpath "${1:?usage: run.sh JUBAKO}")
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/jubako-demo.XXXXXX")
cache=${DEMO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jubako-demo}
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
unset CI

step "1. The project: testdata/bento, locked by uv as its owner would"
cp -r "$top/testdata/bento" "$work/bento"
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  uv=$cache/uv/bin/uv
  if ! [ -x "$uv" ]; then
    python3 -m venv "$cache/uv" || { echo "demo: it needs uv, or python3 with venv (Debian: python3-venv) to install it" >&2; exit 1; }
    "$cache/uv/bin/pip" install -q uv
  fi
fi
(cd "$work/bento" && "$uv" lock -q)
printf '%s: %s packages locked\n' "$("$uv" --version)" "$(grep -c '^\[\[package\]\]' "$work/bento/uv.lock")"

step "2. The base"
base=${BASE:-python:3.12-slim}
mirror=()
if [ -z "${BASE:-}" ] && ! timeout 60 "$jubako" inspect -q "$base" >/dev/null 2>"$work/reach"; then
  echo "$base cannot be reached from here: $(head -n 1 "$work/reach")"
  base=debian:trixie
  [ -z "${DEB_MIRROR:-}" ] || mirror=(--deb-mirror "$DEB_MIRROR")
  if [ ${#mirror[@]} = 0 ] && ! [ -d /etc/apt ]; then
    cat <<X

The demo needs a base: an archive of Debian packages (DEB_MIRROR=https://HOST/debian), or a copy of python:3.12-slim. On a machine
that reaches a registry:
    skopeo copy docker://python:3.12-slim oci-archive:python.tar:python:3.12-slim
and here:
    make demo BASE=oci-archive:python.tar
X
    exit 1
  fi
  echo "so one is made of Debian packages alone, each of them pinned: $base"
fi
show "$jubako" lock --base "$base" "${mirror[@]}" "$work/bento"

step "3. A registry on this machine"
"$jubako" registry serve --listen 127.0.0.1:0 --dir "$work/registry" >"$work/address" 2>"$work/registry.log" & server=$!
for _ in $(seq 50); do [ -s "$work/address" ] && break; sleep 0.1; done
registry=$(sed 's|^http://||' "$work/address")
echo "serving $registry"

step "4. Build and push"
cd "$work/bento"
show "$jubako" build --base "$base" -t "$registry/team/bento:1.4" --push --metadata-file "$work/metadata.json" | tee "$work/result"
ref=$(tail -n 1 "$work/result")

step "5. Once more, with nothing changed"
show "$jubako" build --base "$base" -t "$registry/team/bento:1.4" --push

step "6. One line of a view changed"
echo "# a comment" >>menu/views.py
show "$jubako" build --base "$base" -t "$registry/team/bento:1.5" --push

step "7. Pull it back, and verify every digest"
show "$jubako" verify "${ref/:1.4@/@}"
show "$jubako" inspect "$registry/team/bento:1.4"

step "8. Start it, without an engine: its health check says whether it works"
show "$jubako" run --health --health-timeout 2m -e SECRET_KEY=demo "${ref/:1.4@/@}"

step "9. What the changed line has changed"
show "$jubako" diff "$registry/team/bento:1.4" "$registry/team/bento:1.5"

step "Done."
cat <<X
The image is what \`docker run -p 8000:8000 -e SECRET_KEY=… $registry/team/bento:1.4\` would start.
Without an engine:                  jubako run -e SECRET_KEY=… SOURCE     from any registry, layout or archive
Try next, in a project of yours:   $jubako build -o docker-archive:app.tar && docker load -i app.tar
X
