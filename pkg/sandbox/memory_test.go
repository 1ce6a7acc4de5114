package sandbox

import (
	"testing"
	"testing/fstest"
)

func TestMachineMemory(t *testing.T) {
	const meminfo = "MemTotal:        2097152 kB\nMemFree:          11 kB\nSwapTotal:       1048576 kB\nHugePages_Total:       7\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is known":       {nil, 0},
		"RAM and swap":           {map[string]string{"proc/meminfo": meminfo}, 3 << 30},
		"a pod, version 2":       {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		"without bound":          {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 3 << 30},
		"one around it is least": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "2147483648\n", "sys/fs/cgroup/a/memory.max": "1073741824\n"}, 1 << 30},
		"version 1": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "7:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n", "sys/fs/cgroup/cpu/memory.limit_in_bytes": "1\n"}, 256 << 20},
		"version 1, without bound": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 3 << 30},
		"a path from outside":      {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "805306368\n"}, 768 << 20},
		"damaged":                  {map[string]string{"proc/meminfo": "MemTotal: -1 kB\n", "proc/self/cgroup": "::\n\n0\n"}, 0},
	} {
		root := fstest.MapFS{}
		for p, text := range c.files {
			root[p] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryIn(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := MachineMemory(); got < MinMemoryLimit {
		t.Errorf("this machine: %d", got)
	}
}
