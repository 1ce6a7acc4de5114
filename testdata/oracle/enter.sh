#!/bin/sh
# Runs a command where a folder stands at /app, whatever the machine has there, and all else is the machine's own.
#   enter.sh APP NEWROOT COMMAND…     NEWROOT is an empty folder
# Root does it in a mount namespace; anyone else in a user namespace.
if [ "${ORACLE_INSIDE-}" != 1 ]; then
  map=; [ "$(id -u)" = 0 ] || map=--map-root-user
  ORACLE_INSIDE=1 exec unshare --mount $map --propagation private "$0" "$@"
fi
set -eu
app=$1 root=$2
shift 2
mount_one() {
  name=${1#/}
  if [ -L "$1" ]; then cp -P "$1" "$root/$name"
  elif [ -d "$1" ]; then mkdir -p "$root/$name"; mount --rbind "$1" "$root/$name"
  fi
}
first=/$(printf %s "$root" | cut -d/ -f2) # the folder that holds the new root itself, before anything is mounted below
mount_one "$first"
for d in /*; do
  case $d in "$first" | /app) ;; *) mount_one "$d" ;; esac
done
mkdir -p "$root/app"
mount --rbind "$app" "$root/app"
unset ORACLE_INSIDE
exec chroot "$root" /bin/sh -c 'cd /app && exec "$@"' sh "$@"
