#!/usr/bin/env bash
# What a small project, Debian packages, a base made of them, and commands in the sandbox take on this machine, beside uv with tar and
# gzip, apt, mmdebstrap and chroot.
#   limits.sh JUBAKO      RUNS=5  counted runs, after one warm-up      BASE=FILE  an OCI archive of python:3.12-slim
# Root (for apt in a chroot) and Debian; umoci, mmdebstrap and uv are installed where they are missing.
set -euo pipefail
jubako=$(realpath "${1:?usage: limits.sh JUBAKO}")
top=$(cd "$(dirname "$0")/../.." && pwd)
runs=${RUNS:-5}
base=${BASE:-/var/cache/jubako-e2e/python-3.12-slim.oci.tar}
[ "$(id -u)" = 0 ] || { echo "limits: needs root, for apt in a chroot" >&2; exit 1; }
[ -f "$base" ] || { echo "limits: no base: set BASE to an OCI archive of python:3.12-slim" >&2; exit 1; }
. "$top/testdata/ci/work.sh"
new_work /var/tmp jubako-limits
missing=()
for program in umoci mmdebstrap skopeo; do command -v "$program" >/dev/null || missing+=("$program"); done
if [ ${#missing[@]} != 0 ]; then
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 1; }
fi
uv=$(command -v uv || echo /var/cache/jubako-e2e/uv/bin/uv)
if ! [ -x "$uv" ]; then
  python3 -m venv "$work/uv"
  "$work/uv/bin/pip" install -q uv
  uv=$work/uv/bin/uv
fi
export JUBAKO_CACHE_DIR=$work/cache
unset CI

# median BEFORE COMMAND: seconds of wall time in the median of the runs; BEFORE is not counted.
median() {
  local i start
  for i in $(seq 0 "$runs"); do
    eval "$1"
    start=$(date +%s%N)
    eval "$2" >"$work/log" 2>&1 || { echo "limits: $2:" >&2; cat "$work/log" >&2; return 1; }
    [ "$i" = 0 ] || echo $(($(date +%s%N) - start))
  done | sort -n | awk '{v[NR] = $1} END {printf "%.2f", v[int((NR + 1) / 2)] / 1e9}'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.1f", a / b}'; }
row() { printf '%-66s %8s s%s\n' "$1" "$2" "${3:+  $3}"; }

echo "$("$jubako" version); $(nproc) processors; medians of $runs runs after a warm-up"
echo
# 1. curl over the base, beside apt in a chroot of the same base. The .debs and the archive's indexes are at hand for both, and both ask
# the archive whether those are the newest.
mkdir -p "$work/project"
printf '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.12"\n\n[tool.jubako]\ncmd = ["python3"]\npackages = ["curl"]\n' >"$work/project/pyproject.toml"
printf 'version = 1\nrevision = 3\nrequires-python = ">=3.12"\n\n[[package]]\nname = "x"\nversion = "1"\nsource = { virtual = "." }\n' >"$work/project/uv.lock"
skopeo copy -q "oci-archive:$base" "oci:$work/base:x"
umoci unpack --image "$work/base:x" "$work/bundle" >/dev/null
root=$work/bundle/rootfs
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" sh -c 'apt-get update -q && apt-get install -y -q --no-install-recommends -d curl' >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 1; }
apt=$(median "rm -rf '$work/tree' && cp -a '$root' '$work/tree'" \
  "chroot '$work/tree' sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends curl'")
n=0
layer=$(median 'n=$((n + 1)); rm -rf "$work/out"' \
  'SOURCE_DATE_EPOCH=$n "$jubako" build -q --base "oci-archive:$base" -o "oci:$work/out" "$work/project"')
row "apt-get update && apt-get install curl, indexes and .debs at hand" "$apt"
row "a whole build with packages = [\"curl\"], its layer made anew" "$layer" "$(ratio "$apt" "$layer") x as fast"

# 2. A base of packages alone, with nothing at hand for either: the same packages, in the same versions, out of the same suites of
# the same mirror. jubako's answer is a layer that is compressed already, with its lock; mmdebstrap's is a tar. An image's layer is
# compressed in the end, so mmdebstrap is measured with gzip as well; the limit is held against the plain tar.
scratch=$(median 'rm -rf "$work/cold" "$work/project/jubako.lock"' \
  'JUBAKO_CACHE_DIR=$work/cold "$jubako" lock --set packages=[] --base debian:trixie "$work/project"')
list=$(sed -n 's/^ *{* *name = "\([^"]*\)".*/\1/p' "$work/project/jubako.lock" | grep -v -E '^debian:' | sort -u | paste -sd,)
suites=$(awk -F'"' '/^uri = / {uri = $2} /^suite = / {printf " \"deb %s %s main\"", uri, $2}' "$work/project/jubako.lock")
strap=$(median 'rm -f "$work/strap.tar"' "mmdebstrap --variant=extract --include='$list' trixie '$work/strap.tar' $suites")
strapgz=$(median 'rm -f "$work/strap.tar.gz"' "mmdebstrap --variant=extract --include='$list' trixie '$work/strap.tar.gz' $suites")
row "jubako lock --base debian:trixie, cold: resolved, fetched, compressed" "$scratch"
row "mmdebstrap --variant=extract of the same packages, cold, not compressed" "$strap" "$(ratio "$strap" "$scratch") x as long"
row "mmdebstrap, the same, its tar compressed by $(command -v pigz >/dev/null && echo pigz || echo gzip)" "$strapgz" "$(ratio "$strapgz" "$scratch") x as long"
size=$("$jubako" inspect "oci-archive:$base" 2>/dev/null | awk '/^total/ {print $4, $5}')
echo "    packages: $(tr ',' '\n' <<<"$list" | wc -l) against $(grep -c '^Package:' "$root/var/lib/dpkg/status") of the base archive, which has $size"

# 3. The first thing that a person waits for: Python's start in each, without an engine.
(cd "$work/project" && "$jubako" build -q --set 'packages=[]' --base debian:trixie -o "oci:$work/small" && "$jubako" build -q --set 'packages=[]' --base "oci-archive:$base" -o "oci:$work/slim") >/dev/null
for image in small slim; do
  start=$(median : "'$jubako' run 'oci:$work/$image' -- python3 -c 'import ssl, sqlite3'")
  row "jubako run oci:$image -- python3 -c 'import ssl, sqlite3'" "$start"
done
rm -rf "$work/small" "$work/slim"

# 4. testdata/bento, whole: its environment beside the script of a team without Docker, and what a person waits for.
cp -r "$top/testdata/bento" "$work/bento"
(cd "$work/bento" && "$uv" lock -q --no-python-downloads)
"$jubako" registry serve --listen 127.0.0.1:0 --dir "$work/registry" >"$work/address" 2>"$work/registry.log" & pids+=($!)
wait_for registry test -s "$work/address"
tag=$(sed 's|^http://||' "$work/address")/bench/bento:1
n=0
venv=$(median 'n=$((n + 1)); rm -rf "$work/out"' \
  'SOURCE_DATE_EPOCH=$n "$jubako" build -q --set staticfiles=false --base "oci-archive:$base" -o "oci:$work/out" "$work/bento"')
script=$(median 'rm -rf "$work/venv" "$work/venv.tar.gz"' \
  '(cd "$work/bento" && UV_PROJECT_ENVIRONMENT=$work/venv "$uv" sync -q --no-python-downloads --frozen --no-dev --no-install-project) &&
   tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 -cf - venv | gzip -6 -n >"$work/venv.tar.gz"')
row "bento: the venv, app and passwd layers made anew, downloads at hand" "$venv"
row "bento: uv sync + tar + gzip of the same packages" "$script" "$(ratio "$script" "$venv") x as long"
n=1000 # times that no layer has been made with
made=$(median 'n=$((n + 1)); rm -rf "$work"/cache/records/{modules,pycache}' 'SOURCE_DATE_EPOCH=$n "$jubako" build -q --push -t "$tag" --base "oci-archive:$base" "$work/bento"')
row "bento: everything made anew and pushed, collectstatic among it" "$made"
again=$(median : '"$jubako" build -q --push -t "$tag" --base "oci-archive:$base" "$work/bento"')
row "bento: nothing changed, built and pushed again" "$again"
view=$(median 'n=$((n + 1)); echo "# $n" >>"$work/bento/menu/views.py"' '"$jubako" build -q --push -t "$tag" --base "oci-archive:$base" "$work/bento"')
row "bento: one line of a view changed" "$view"
setting=$(median 'n=$((n + 1)); echo "# $n" >>"$work/bento/bento/settings/base.py"' '"$jubako" build -q --push -t "$tag" --base "oci-archive:$base" "$work/bento"')
row "bento: one setting changed; collectstatic runs again" "$setting"

# 5. Steps: their start on each rung with the tree on disk, and collectstatic of testdata/bento.
declare -A took
for rung in userns chroot ptrace; do
  n=$((n + 1000)) # times that no layer has been made with: the rung is no part of a key
  took[$rung]=$(for i in $(seq 0 "$runs"); do
    SOURCE_DATE_EPOCH=$((n + i)) "$jubako" build --sandbox "$rung" --base "oci-archive:$base" -o "oci:$work/static" "$work/bento" 2>&1 >/dev/null | awk -v i="$i" 'i > 0 && / staticfiles +made/ {print $(NF - 1)}'
    rm -rf "$work/static"
  done | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
done
for rung in userns chroot ptrace; do
  row "collectstatic of testdata/bento, --sandbox $rung" "${took[$rung]}" "$(ratio "${took[$rung]}" "${took[chroot]}") x chroot"
done
echo "the start of a step, its tree on disk:"
(cd "$top" && go test -run '^$' -bench BenchmarkStart -benchtime 20x ./pkg/sandbox) | awk '/^Benchmark/ {printf "    %-20s %6.1f ms\n", substr($1, index($1, "/") + 1), $3 / 1e6}'
