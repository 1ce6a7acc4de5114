package wheel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Target is what a wheel has to fit: a CPython, its C library, a processor.
type Target struct {
	Major, Minor int
	FreeThreaded bool
	Arch         string // as in platform tags: "x86_64", "aarch64"
	Libc         string // "glibc" or "musl"
	LibcMajor    int
	LibcMinor    int
}

// tag is one of the triples that a filename stands for.
type tag struct{ python, abi, platform string }

// Tags are the tags that a target accepts, in uv's order of preference.
type Tags struct {
	target Target
	ranks  map[tag]int
	sets   [3]map[string]bool // the accepted Python, ABI and platform tags, to explain a refusal
}

// TagsFor lists the tags of a target. A target with an unknown C library accepts no manylinux and no musllinux tag.
func TagsFor(t Target) Tags {
	b := &tagList{Tags: Tags{target: t, ranks: make(map[tag]int)}}
	for i := range b.sets {
		b.sets[i] = make(map[string]bool)
	}
	platforms := platformTags(t)
	abi, stable := fmt.Sprintf("cp%d%d", t.Major, t.Minor), "abi3"
	if t.FreeThreaded {
		abi, stable = abi+"t", "abi3t"
	}
	cp := func(minor int) string { return fmt.Sprintf("cp%d%d", t.Major, minor) }
	py := func(minor int) string { return fmt.Sprintf("py%d%d", t.Major, minor) }
	pyMajor := "py" + strconv.Itoa(t.Major)

	b.add(cp(t.Minor), abi, platforms...)
	b.add(cp(t.Minor), stable, platforms...)
	b.add(cp(t.Minor), "none", platforms...)
	for minor := t.Minor - 1; minor >= 2; minor-- { // the stable ABI began with 3.2 (PEP 384)
		b.add(cp(minor), stable, platforms...)
	}
	b.add(py(t.Minor), "none", platforms...)
	b.add(pyMajor, "none", platforms...)
	for minor := t.Minor - 1; minor >= 0; minor-- {
		b.add(py(minor), "none", platforms...)
	}
	b.add(cp(t.Minor), "none", "any")
	b.add(py(t.Minor), "none", "any")
	b.add(pyMajor, "none", "any")
	for minor := t.Minor - 1; minor >= 0; minor-- {
		b.add(py(minor), "none", "any")
	}
	return b.Tags
}

type tagList struct{ Tags }

func (b *tagList) add(python, abi string, platforms ...string) {
	for _, platform := range platforms {
		t := tag{python, abi, platform}
		if _, ok := b.ranks[t]; !ok {
			b.ranks[t] = len(b.ranks)
		}
		b.sets[2][platform] = true
	}
	b.sets[0][python] = true
	b.sets[1][abi] = true
}

// platformTags lists the platform tags of a target, best first (PEP 600, PEP 656).
func platformTags(t Target) []string {
	var tags []string
	switch t.Libc {
	case "glibc":
		for minor := t.LibcMinor; minor >= oldestGlibc(t.Arch); minor-- {
			tags = append(tags, fmt.Sprintf("manylinux_%d_%d_%s", t.LibcMajor, minor, t.Arch))
			if alias, ok := map[int]string{17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}[minor]; ok {
				tags = append(tags, alias+"_"+t.Arch)
			}
		}
	case "musl":
		for minor := t.LibcMinor; minor >= 0; minor-- {
			tags = append(tags, fmt.Sprintf("musllinux_%d_%d_%s", t.LibcMajor, minor, t.Arch))
		}
	}
	return append(tags, "linux_"+t.Arch)
}

// oldestGlibc is the minor version of the first glibc that has manylinux wheels on an architecture.
func oldestGlibc(arch string) int {
	switch arch {
	case "x86_64", "i686":
		return 5
	case "riscv64":
		return 31
	case "loongarch64":
		return 36
	}
	return 17
}

// Rank says how well a wheel fits: 0 is best. ok is false where it does not fit at all.
func (t Tags) Rank(f Filename) (rank int, ok bool) {
	if f.Variant != "" {
		return 0, false
	}
	for _, python := range f.Python {
		for _, abi := range f.ABI {
			for _, platform := range f.Platform {
				if r, found := t.ranks[tag{python, abi, platform}]; found && (!ok || r < rank) {
					rank, ok = r, true
				}
			}
		}
	}
	return rank, ok
}

// Best gives the index of the wheel to install, -1 where none fits: the best tag, then the highest build tag, then the
// first.
func (t Tags) Best(files []Filename) int {
	best, bestRank := -1, 0
	for i, f := range files {
		rank, ok := t.Rank(f)
		if !ok {
			continue
		}
		if best < 0 || rank < bestRank || rank == bestRank && f.Build.Compare(files[best].Build) > 0 {
			best, bestRank = i, rank
		}
	}
	return best
}

// String says what is wanted, in the words of tags: "cp312 manylinux_2_36 x86_64".
func (t Tags) String() string {
	s := fmt.Sprintf("cp%d%d", t.target.Major, t.target.Minor)
	if t.target.FreeThreaded {
		s += "t"
	}
	switch t.target.Libc {
	case "glibc":
		s += fmt.Sprintf(" manylinux_%d_%d", t.target.LibcMajor, t.target.LibcMinor)
	case "musl":
		s += fmt.Sprintf(" musllinux_%d_%d", t.target.LibcMajor, t.target.LibcMinor)
	default:
		s += " linux"
	}
	return s + " " + t.target.Arch
}

// Why says in a few words why a wheel does not fit. It is "" for one that does.
func (t Tags) Why(f Filename) string {
	if _, ok := t.Rank(f); ok {
		return ""
	}
	if f.Variant != "" {
		return fmt.Sprintf("is a variant (%s), and variants are not chosen", f.Variant)
	}
	if !t.anyOf(2, f.Platform) {
		return t.whyPlatform(f.Platform)
	}
	python := fmt.Sprintf("Python %d.%d", t.target.Major, t.target.Minor)
	if t.target.FreeThreaded {
		python = "free-threaded " + python
	}
	if !t.anyOf(0, f.Python) {
		return fmt.Sprintf("is for %s, not for %s", strings.Join(f.Python, " and "), python)
	}
	if !t.anyOf(1, f.ABI) {
		return fmt.Sprintf("needs the ABI %s, and not that of %s", strings.Join(f.ABI, " or "), python)
	}
	return fmt.Sprintf("%s is no combination that %s takes", strings.Join(f.Python, ".")+"-"+strings.Join(f.ABI, ".")+"-"+strings.Join(f.Platform, "."), python)
}

func (t Tags) anyOf(set int, tags []string) bool {
	return slices.ContainsFunc(tags, func(s string) bool { return t.sets[set][s] })
}

// whyPlatform explains a platform mismatch by the first difference that cannot be helped.
func (t Tags) whyPlatform(platforms []string) string {
	var newer string
	libc, arch := false, false
	for _, p := range platforms {
		kind, minor, a := splitPlatform(p)
		if a != t.target.Arch {
			continue
		}
		arch = true
		if kind == t.target.Libc {
			libc = true
			newer = fmt.Sprintf("needs %s %s, and the base has %d.%d", kind, minor, t.target.LibcMajor, t.target.LibcMinor)
		}
	}
	switch {
	case libc:
		return newer
	case arch:
		return fmt.Sprintf("is for another C library than the base's %s", t.target.Libc)
	}
	return fmt.Sprintf("is for %s, not for %s", strings.Join(platforms, " and "), "linux "+t.target.Arch)
}

// splitPlatform takes a platform tag apart: the C library, its version, the architecture; kind is "" where the tag is
// of another form.
func splitPlatform(p string) (kind, version, arch string) {
	for prefix, v := range map[string]string{"manylinux1_": "2.5", "manylinux2010_": "2.12", "manylinux2014_": "2.17"} {
		if arch, ok := strings.CutPrefix(p, prefix); ok {
			return "glibc", v, arch
		}
	}
	if arch, ok := strings.CutPrefix(p, "linux_"); ok {
		return "", "", arch
	}
	for prefix, kind := range map[string]string{"manylinux_": "glibc", "musllinux_": "musl"} {
		if rest, ok := strings.CutPrefix(p, prefix); ok {
			if parts := strings.SplitN(rest, "_", 3); len(parts) == 3 {
				return kind, parts[0] + "." + parts[1], parts[2]
			}
		}
	}
	return "", "", ""
}
