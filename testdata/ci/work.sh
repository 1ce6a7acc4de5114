# A run's own folder, daemons and network, and the end of all three. To be sourced by what starts daemons.
#   new_work PARENT NAME    makes $work, a folder PARENT/NAME.XXXXXX that ends with the script; ends before what killed runs of NAME have
#                           left there
#   pids+=($!)              a daemon of this run, whose log is $work/NAME.log
#   wait_for NAME COMMAND…  until the command succeeds, 30 s at most
#   free_port               prints a port of the loopback
#   start_containerd        one with the socket $work/containerd.sock
#   new_bridge              makes $bridge: a network for containers, and for no other run's
# They need python3 (free_port takes $python, where that is set), and new_bridge iproute2.
pids=()

# A run that was killed leaves daemons, mounts, gigabytes, and network namespaces that still answer to the address that Docker gives the
# next run's first container: on one bridge with it, its ports were then closed, or not, by chance.
new_work() { # PARENT NAME
  local left owner
  for left in "$1/$2".??????; do
    [ -f "$left/owner" ] && read -r -a owner <"$left/owner" || continue
    # Where numbers of processes mean something else, as in another container, nothing is known of it.
    [ "${owner[2]:-}" = "$(readlink /proc/self/ns/pid)" ] && [ "$(started "${owner[0]}")" != "${owner[1]}" ] || continue
    echo "$2: ending what a killed run has left in $left" >&2
    end_work "$left"
  done
  work=$(mktemp -d "$1/$2.XXXXXX")
  trap 'trap "" INT TERM; end_work "$work" "${pids[@]}"' EXIT # a second signal does not end the ending
  trap 'exit 130' INT TERM
  echo "$$ $(started $$) $(readlink /proc/self/ns/pid)" >"$work/owner"
}

# started PID: when that process was, by which a later one of the same number is told from it; nothing where there is none, or one that
# has ended and that nobody has asked about yet.
started() { sed -n 's/.*) \([^ZX] \)/\1/p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# end_work FOLDER [PID…]: ends these processes, the last first, and whatever else lives from the folder; removes it.
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

wait_for() {
  local name=$1
  shift
  for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "$name did not start; its log ends with:" >&2
  tail -n 20 "$work/$name.log" >&2
  return 1
}

free_port() { "${python:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_containerd() {
  mkdir "$work/containerd"
  printf 'version = 2\nroot = "%s/containerd/root"\nstate = "%s/containerd/state"\n[grpc]\naddress = "%s/containerd.sock"\n' "$work" "$work" "$work" >"$work/containerd.toml"
  containerd -c "$work/containerd.toml" >"$work/containerd.log" 2>&1 & pids+=($!)
  wait_for containerd ctr -a "$work/containerd.sock" version
}

# The subnet is one of those set aside for tests of networks (RFC 2544), which no VPN has a reason to lead anywhere.
new_bridge() {
  local address
  address=$(ip -4 -o route show table all | python3 -c '
import ipaddress, random, re, sys
routes = [ipaddress.ip_network(n, strict=False) for n in re.findall(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?", sys.stdin.read())]
free = [n for n in ipaddress.ip_network("198.18.0.0/15").subnets(new_prefix=24) if not any(n.overlaps(r) for r in routes)]
print(f"{random.choice(free)[1]}/24" if free else sys.exit("no subnet of 198.18.0.0/15 is free"))')
  bridge=jubako-${work##*.} # 15 characters is what a link's name may have
  echo "$bridge" >"$work/bridge"
  ip link add "$bridge" type bridge
  ip address add "$address" dev "$bridge"
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
