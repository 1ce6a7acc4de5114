package sandbox

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// MachineMemory is how many bytes of memory the processes of this one can have: RAM with swap, or what a control group around it
// allows, whichever is least; 0 where that cannot be told.
func MachineMemory() int64 { return memoryIn(os.DirFS("/")) }

// memoryIn reads proc(5), /proc/meminfo, and cgroups(7), memory.max of version 2 and memory.limit_in_bytes of version 1, below a root.
func memoryIn(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	meminfo, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	var total int64
	for s := bufio.NewScanner(bytes.NewReader(meminfo)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) == 3 && (f[0] == "MemTotal:" || f[0] == "SwapTotal:") {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil || kb < 0 || kb > math.MaxInt64>>12 {
				return 0
			}
			total += kb << 10
		}
	}
	if total > 0 {
		least = total
	}
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for s := bufio.NewScanner(bytes.NewReader(groups)); s.Scan(); {
		f := strings.SplitN(s.Text(), ":", 3) // hierarchy, controllers, path
		if len(f) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if f[0] != "0" {
			if f[1] != "memory" {
				continue
			}
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		// A group has no more than those around it. In a container, the path may be one that is seen from outside alone.
		for at := path.Clean("/" + f[2]); ; at = path.Dir(at) {
			b, err := fs.ReadFile(root, path.Join(mount, at, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && bad == nil && n > 0 {
				least = min(least, n)
			}
			if at == "/" {
				break
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
