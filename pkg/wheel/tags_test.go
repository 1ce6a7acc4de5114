package wheel

import (
	"strings"
	"testing"
)

var (
	bookworm = Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 36}
	alpine   = Target{Major: 3, Minor: 12, Arch: "aarch64", Libc: "musl", LibcMajor: 1, LibcMinor: 2}
	trixieT  = Target{Major: 3, Minor: 13, FreeThreaded: true, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 41}
)

func parsed(t *testing.T, names ...string) []Filename {
	t.Helper()
	var files []Filename
	for _, n := range names {
		f, err := ParseFilename("a-1-" + n + ".whl")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// TestTagsInOrder lists wheels from the most wanted to the least: every earlier one must win over every later one.
func TestTagsInOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		target Target
		order  []string
	}{
		{"case 25: glibc", bookworm, []string{
			"cp312-cp312-manylinux_2_36_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-manylinux2014_x86_64",
			"cp312-cp312-manylinux_2_12_x86_64", "cp312-cp312-manylinux2010_x86_64", "cp312-cp312-manylinux1_x86_64",
			"cp312-cp312-linux_x86_64", "cp312-abi3-manylinux_2_17_x86_64", "cp312-none-manylinux_2_17_x86_64",
			"cp311-abi3-linux_x86_64", "cp32-abi3-manylinux_2_36_x86_64", "py312-none-linux_x86_64",
			"py3-none-manylinux_2_28_x86_64", "py311-none-linux_x86_64", "py30-none-linux_x86_64",
			"cp312-none-any", "py312-none-any", "py3-none-any", "py311-none-any", "py30-none-any",
		}},
		{"musl", alpine, []string{
			"cp312-cp312-musllinux_1_2_aarch64", "cp312-cp312-musllinux_1_0_aarch64", "cp312-cp312-linux_aarch64",
			"cp39-abi3-musllinux_1_1_aarch64", "py3-none-any",
		}},
		{"free-threaded", trixieT, []string{
			"cp313-cp313t-manylinux_2_41_x86_64", "cp313-abi3t-linux_x86_64", "cp313-none-linux_x86_64", "py3-none-any",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tags, files := TagsFor(tt.target), parsed(t, tt.order...)
			last := -1
			for _, f := range files {
				rank, ok := tags.Rank(f)
				if !ok || rank <= last {
					t.Errorf("%s has rank %d (%v), after %d: %s", f.Raw, rank, ok, last, tags.Why(f))
				}
				last = rank
			}
		})
	}
}

func TestTagsRefuse(t *testing.T) {
	for _, tt := range []struct {
		name, wheel, why string
		target           Target
	}{
		{"case 24: newer glibc", "cp312-cp312-manylinux_2_39_x86_64", "needs glibc 2.39, and the base has 2.36", bookworm},
		{"case 26: older CPython without stable ABI", "cp311-none-manylinux_2_17_x86_64", "no combination", bookworm},
		{"older CPython", "cp311-cp311-manylinux_2_17_x86_64", "needs the ABI cp311", bookworm},
		{"newer Python", "cp313-cp313-manylinux_2_17_x86_64", "is for cp313", bookworm},
		{"case 27: variant", "py3-none-any-cpu_v3", "variant (cpu_v3)", bookworm},
		{"case 28: manylinux on musl", "cp312-cp312-manylinux_2_17_aarch64", "another C library than the base's musl", alpine},
		{"architecture", "cp312-cp312-manylinux_2_17_aarch64", "not for linux x86_64", bookworm},
		{"system", "cp312-cp312-macosx_11_0_x86_64", "is for macosx_11_0_x86_64", bookworm},
		{"abi3 on free-threaded", "cp39-abi3-manylinux_2_17_x86_64", "needs the ABI abi3", trixieT},
		{"case counts", "CP312-cp312-manylinux_2_17_x86_64", "is for CP312", bookworm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tags, f := TagsFor(tt.target), parsed(t, tt.wheel)[0]
			if rank, ok := tags.Rank(f); ok {
				t.Errorf("accepted with rank %d", rank)
			}
			if got := tags.Why(f); !strings.Contains(got, tt.why) {
				t.Errorf("Why is %q, and should say %q", got, tt.why)
			}
		})
	}
}

func TestBest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wheels []string
		want   int
	}{
		{"case 25", []string{"py3-none-any", "cp39-abi3-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64"}, 2},
		{"case 26: abi3", []string{"cp311-none-manylinux_2_17_x86_64", "cp39-abi3-manylinux_2_17_x86_64"}, 1},
		{"case 26: none-any", []string{"cp311-cp311-linux_x86_64", "cp312-none-any"}, 1},
		{"case 27: a build tag over none", []string{"py3-none-any", "1-py3-none-any"}, 1},
		{"case 27: 10 over 9", []string{"10-py3-none-any", "9-py3-none-any"}, 0},
		{"case 27: a variant never", []string{"py3-none-any-cpu_v3", "py3-none-any"}, 1},
		{"the best of a compressed set", []string{"py3-none-any", "py2.py3-none-any"}, 0},
		{"the first of equals", []string{"cp312-cp312-linux_x86_64", "cp312-cp312-linux_x86_64"}, 0},
		{"none", []string{"cp311-cp311-linux_x86_64"}, -1},
	} {
		if got := TagsFor(bookworm).Best(parsed(t, tt.wheels...)); got != tt.want {
			t.Errorf("%s: chose %d, want %d", tt.name, got, tt.want)
		}
	}
}
