package buildreq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/wheel"
)

// index is one in memory: a wheel a line, "name version [tag=…] [python=…] [yanked] [time=…] : requirement; marker | …".
type index struct {
	t        *testing.T
	files    map[string][]File
	metadata map[string]Metadata
	asked    []string
}

func newIndex(t *testing.T, lines ...string) *index {
	t.Helper()
	x := &index{t: t, files: make(map[string][]File), metadata: make(map[string]Metadata)}
	for _, l := range lines {
		head, tail, _ := strings.Cut(l, " : ")
		words := strings.Fields(head)
		f, tag := File{Uploaded: time.Unix(1000, 0)}, "py3-none-any"
		for _, w := range words[2:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "tag":
				tag = value
			case "python":
				f.RequiresPython = value
			case "yanked":
				f.Yanked = true
			case "time":
				n, err := time.ParseDuration(value + "s")
				if err != nil {
					t.Fatal(err)
				}
				f.Uploaded = time.Unix(int64(n.Seconds()), 0)
			case "unknown":
				f.Uploaded = time.Time{}
			case "sdist":
				tag = ""
			}
		}
		f.Filename = fmt.Sprintf("%s-%s-%s.whl", strings.ReplaceAll(words[0], "-", "_"), words[1], tag)
		if tag == "" {
			f.Filename = words[0] + "-" + words[1] + ".tar.gz"
		}
		x.files[words[0]] = append(x.files[words[0]], f)
		var m Metadata
		for r := range strings.SplitSeq(tail, "|") {
			if r = strings.TrimSpace(r); r != "" {
				m.Requires = append(m.Requires, r)
			}
		}
		x.metadata[f.Filename] = m
	}
	return x
}

func (x *index) Files(_ context.Context, project string) ([]File, error) {
	return x.files[project], nil
}

func (x *index) Metadata(_ context.Context, f File) (Metadata, error) {
	x.asked = append(x.asked, f.Filename)
	return x.metadata[f.Filename], nil
}

func options(t *testing.T, x *index) Options {
	t.Helper()
	env, err := pep508.LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Index: x, Env: env, Tags: wheel.TagsFor(wheel.Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 41})}
}

func resolve(t *testing.T, o Options, wanted ...string) (string, error) {
	t.Helper()
	reqs, err := Parse(wanted)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Resolve(t.Context(), reqs, o)
	var all []string
	for _, f := range found {
		all = append(all, f.Name+" "+f.Version)
	}
	return strings.Join(all, ", "), err
}

func TestResolve(t *testing.T) {
	common := []string{"setuptools 69.0", "setuptools 80.9", "setuptools 81.0rc1", "wheel 0.45 : packaging>=24", "packaging 24.0", "packaging 25.0"}
	for name, tt := range map[string]struct {
		index  []string
		wanted []string
		change func(*Options)
		want   string
	}{
		"the newest":                    {nil, []string{"setuptools", "wheel"}, nil, "packaging 25.0, setuptools 80.9, wheel 0.45"},
		"nothing":                       {nil, nil, nil, ""},
		"a bound":                       {nil, []string{"setuptools<70"}, nil, "setuptools 69.0"},
		"two bounds":                    {nil, []string{"Setuptools<82", "setuptools>70"}, nil, "setuptools 80.9"},
		"a pre-release that is named":   {nil, []string{"setuptools>=81.0rc1"}, nil, "setuptools 81.0rc1"},
		"pre-releases alone":            {[]string{"a 1.0b1", "a 1.0a1"}, []string{"a"}, nil, "a 1.0b1"},
		"a pre-release through another": {[]string{"a 1 : b>=2.0b1", "b 2.0b1", "b 2.1b1"}, []string{"a"}, nil, "a 1, b 2.1b1"},
		"a marker":                      {[]string{"a 1 : b; python_version < '3.10' | c; sys_platform == 'linux'", "b 1", "c 1"}, []string{"a", "x; os_name == 'nt'"}, nil, "a 1, c 1"},
		"an extra":                      {[]string{"a 1 : b; extra == 'more'", "b 1"}, []string{"a[more]"}, nil, "a 1, b 1"},
		"an extra of one chosen before": {[]string{"a 1 : c; extra == 'x'", "b 1 : a[x]", "c 1"}, []string{"a", "b"}, nil, "a 1, b 1, c 1"},
		"an extra of its own":           {[]string{"a 1 : a[y]; extra == 'x' | c; extra == 'y'", "c 1"}, []string{"a[x]"}, nil, "a 1, c 1"},
		"a cycle":                       {[]string{"a 1 : b", "b 1 : a"}, []string{"a"}, nil, "a 1, b 1"},
		"an older one that fits":        {[]string{"a 2 : b>2", "a 1 : b", "b 2"}, []string{"a"}, nil, "a 1, b 2"},
		"back over a choice":            {[]string{"a 2 : c==1", "a 1 : c", "b 2 : c==2", "c 1", "c 2"}, []string{"a", "b"}, nil, "a 1, b 2, c 2"},
		"back over two":                 {[]string{"a 1 : b", "b 3 : d==1", "b 2 : d==1", "b 1", "c 1 : d==2", "d 1", "d 2"}, []string{"a", "b", "c"}, nil, "a 1, b 1, c 1, d 2"},
		"what fits the platform":        {[]string{"a 2 tag=cp312-cp312-win_amd64", "a 1 tag=cp312-cp312-manylinux_2_17_x86_64", "a 1 tag=py3-none-any"}, []string{"a"}, nil, "a 1"},
		"what fits the Python":          {[]string{"a 2 python=>=3.13", "a 1 python=>=3.8"}, []string{"a"}, nil, "a 1"},
		"no sdist":                      {[]string{"a 2 sdist", "a 1"}, []string{"a"}, nil, "a 1"},
		"what was taken back":           {[]string{"a 2 yanked", "a 1"}, []string{"a"}, nil, "a 1"},
		"what was taken back, exactly":  {[]string{"a 2 yanked", "a 1"}, []string{"a==2"}, nil, "a 2"},
		"constraints": {nil, []string{"setuptools", "wheel"}, func(o *Options) {
			o.Constraints = must(Parse([]string{"setuptools<70", "packaging<25", "unused==1", "wheel<0; os_name == 'nt'"}))
		}, "packaging 24.0, setuptools 69.0, wheel 0.45"},
		"exclude-newer": {[]string{"a 2 time=3000", "a 1.5 unknown", "a 1 time=2000"}, []string{"a"}, func(o *Options) { o.ExcludeNewer = time.Unix(3000, 0) }, "a 1"},
		"exclude-newer of a package": {[]string{"a 2 time=3000", "a 1 time=2000", "b 2 time=3000"}, []string{"a", "b"}, func(o *Options) {
			o.ExcludeNewer, o.ExcludeNewerPackage = time.Unix(2500, 0), map[string]time.Time{"b": {}}
		}, "a 1, b 2"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, newIndex(t, append(common, tt.index...)...))
			if tt.change != nil {
				tt.change(&o)
			}
			got, err := resolve(t, o, tt.wanted...)
			if d := cmp.Diff(tt.want, got); d != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, d)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestNone(t *testing.T) {
	for name, tt := range map[string]struct {
		index  []string
		wanted []string
		want   []string
	}{
		"unknown":        {nil, []string{"a"}, []string{"no wheel of a", "a (by the project)", "no index knows the project"}},
		"sdists alone":   {[]string{"a 1 sdist"}, []string{"a"}, []string{"sdists alone"}},
		"bounds":         {[]string{"a 1"}, []string{"a<1", "a>=1"}, []string{"a <1 (by the project), a >=1 (by the project)"}},
		"platform":       {[]string{"a 1 tag=cp312-cp312-win_amd64"}, []string{"a"}, []string{"a-1-cp312-cp312-win_amd64.whl: "}},
		"a conflict":     {[]string{"a 1 : c==1", "b 1 : c==2", "c 1", "c 2"}, []string{"a", "b"}, []string{"no wheel of c", "c ==1 (by a 1), c ==2 (by b 1)"}},
		"deeper":         {[]string{"a 1 : b", "b 1 : nothing"}, []string{"a"}, []string{"no wheel of nothing", "(by b 1)"}},
		"what cannot be": {[]string{"a 1 : ???"}, []string{"a"}, []string{"a 1 requires what cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(t, options(t, newIndex(t, tt.index...)), tt.wanted...)
			if _, ok := errors.AsType[*Error](err); !ok || got != "" {
				t.Fatalf("%s, %v", got, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nshould say %q", err, want)
				}
			}
		})
	}
	if _, err := resolve(t, options(t, newIndex(t)), "a @ https://x.example/a.whl"); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" {
		t.Errorf("a URL: %v", err)
	}
	if _, err := Parse([]string{"a b"}); err == nil {
		t.Error("a requirement that is none was read")
	}
}

// TestBounded: a conflict among packages that have nothing to do with the many versions of another is told at once, and where
// they have, the search ends.
func TestBounded(t *testing.T) {
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("many %d", i), fmt.Sprintf("wide %d : deep", i), fmt.Sprintf("deep %d : gone", i))
	}
	x := newIndex(t, append(lines, "b 1 : gone")...)
	if _, err := resolve(t, options(t, x), "many", "b"); err == nil || len(x.asked) > 3 {
		t.Errorf("%v, after %d questions", err, len(x.asked))
	}
	x.asked = nil
	if _, err := resolve(t, options(t, x), "wide"); err == nil || len(x.asked) > 1000 {
		t.Errorf("%v, after %d questions", err, len(x.asked))
	}
	long := []string{"p0 1 : p1"}
	for i := range maxPackages + 1 {
		long = append(long, fmt.Sprintf("p%d 1 : p%d", i+1, i+2))
	}
	if _, err := resolve(t, options(t, newIndex(t, long...)), "p0"); err == nil || !strings.Contains(err.Error(), "more than 500 packages") {
		t.Errorf("a long chain: %v", err)
	}
}
