# A run's own folder, daemons and network, and the end of all three. To be sourced by what starts daemons.
#   new_work PARENT NAME    makes $work, a folder PARENT/NAME.XXXXXX, after ending what killed runs of NAME have left there
#   pids+=($!)              a daemon of this run
#   new_bridge              makes $bridge, with the address $bridge_address: a network for containers, and for no other run's
#   end_work FOLDER [PID…]  ends these processes, the last first, and whatever else lives from FOLDER; removes it
pids=()

# A run that was killed leaves daemons, mounts, gigabytes, and network namespaces that still answer to the address that Docker gives the
# next run's first container: on one bridge with it, its ports were then closed, or not, by chance.
new_work() {
  local left owner started
  for left in "$1/$2".??????; do
    [ -f "$left/owner" ] && read -r owner started <"$left/owner" || continue
    [ "$(started "$owner")" != "$started" ] || continue
    echo "$2: ending what a killed run has left in $left" >&2
    end_work "$left"
  done
  work=$(mktemp -d "$1/$2.XXXXXX")
  echo "$$ $(started $$)" >"$work/owner"
}

# started PID: when that process was, by which a later one of the same number is told from it; nothing where there is none.
started() { sed -n 's/.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

end_work() {
  local folder=$1 i pid child
  shift
  for ((i = $#; i >= 1; i--)); do
    pid=${!i}
    kill "$pid" 2>/dev/null || continue
    timeout 20 tail --pid="$pid" -f /dev/null 2>/dev/null || true
  done
  # What is left: these, where they would not end, and the shims of containers, with the containers.
  for pid in "$@" $(grep -l -F -e "$folder/" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 || true); do
    [ "$pid" != $$ ] || continue
    for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true) "$pid"; do kill -9 "$child" 2>/dev/null || true; done
  done
  awk -v f="$folder" '$2 == f || index($2, f "/") == 1 {print $2}' /proc/self/mounts | sort -r | xargs -r -n1 umount -l 2>/dev/null || true
  [ ! -s "$folder/bridge" ] || remove_bridge "$(cat "$folder/bridge")"
  rm -rf --one-file-system "$folder" 2>/dev/null || { chmod -R u+w "$folder" && rm -rf --one-file-system "$folder"; }
}

new_bridge() {
  bridge=jubako-${work##*.} # 15 characters is what a link's name may have
  bridge_address=$(ip -4 -o route show table all | python3 -c '
import ipaddress, random, re, sys
routes = [ipaddress.ip_network(n, strict=False) for n in re.findall(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?", sys.stdin.read())]
subnets = [n for n in ipaddress.ip_network("10.0.0.0/8").subnets(new_prefix=24) if not any(n.overlaps(r) for r in routes)]
print(f"{random.choice(subnets)[1]}/24")')
  echo "$bridge" >"$work/bridge"
  ip link add "$bridge" type bridge
  ip address add "$bridge_address" dev "$bridge"
  ip link set "$bridge" up
}

# remove_bridge NAME: the link, and the rules that Docker leaves for it.
remove_bridge() {
  local table rule
  for table in nat filter; do
    iptables -t "$table" -S 2>/dev/null | grep -w -e "$1" | sed 's/^-A/-D/' | while read -r -a rule; do iptables -t "$table" "${rule[@]}" || true; done || true
  done
  ip link delete "$1" 2>/dev/null || true
}
