package wheel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFilename(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Filename
	}{
		{"uvicorn-0.34.0-py3-none-any.whl", Filename{Name: "uvicorn", Version: "0.34.0",
			Python: []string{"py3"}, ABI: []string{"none"}, Platform: []string{"any"}}},
		{"Flask_SQLAlchemy.X-3.1+cu.118-2b-py2.py3-none-any.whl", Filename{Name: "flask-sqlalchemy-x", Version: "3.1+cu.118",
			Build:  BuildTag{Present: true, Number: 2, Rest: "b"},
			Python: []string{"py2", "py3"}, ABI: []string{"none"}, Platform: []string{"any"}}},
		{"a-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", Filename{Name: "a", Version: "1",
			Python: []string{"cp39"}, ABI: []string{"abi3"}, Platform: []string{"manylinux_2_17_x86_64", "manylinux2014_x86_64"}}},
		{"a-1-py3-none-any-cpu_v3.whl", Filename{Name: "a", Version: "1",
			Python: []string{"py3"}, ABI: []string{"none"}, Platform: []string{"any"}, Variant: "cpu_v3"}},
		{"a-1-1-py3-none-any-cpu_v3.whl", Filename{Name: "a", Version: "1", Build: BuildTag{Present: true, Number: 1},
			Python: []string{"py3"}, ABI: []string{"none"}, Platform: []string{"any"}, Variant: "cpu_v3"}},
	} {
		tt.want.Raw = tt.in
		got, err := ParseFilename(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseFilenameRefused(t *testing.T) {
	for _, in := range []string{
		"", "a.whl", "a-1.tar.gz", "a-1-py3-none.whl", "a-one-py3-none-any.whl", "-1-py3-none-any.whl",
		"a-1-x-py3-none-any-B.whl", "a-1-1-2-py3-none-any.whl", "a-1-py3..py2-none-any.whl", "a/b-1-py3-none-any.whl",
		"a-1-py3-none-any.whl/", "a-1-py3--any.whl",
	} {
		if f, err := ParseFilename(in); err == nil {
			t.Errorf("%q was taken as %+v", in, f)
		}
	}
}

func TestBuildTagOrder(t *testing.T) {
	order := []BuildTag{{}, {Present: true, Number: 1}, {Present: true, Number: 1, Rest: "a"}, {Present: true, Number: 9}, {Present: true, Number: 10}}
	for i, a := range order {
		for j, b := range order {
			if got, want := a.Compare(b), sign(i-j); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzFilename(f *testing.F) {
	for _, s := range []string{
		"pillow-11.1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
		"torch-2.5.0+cpu-1-cp312-cp312-linux_x86_64.whl",
		"a-1-py2.py3-none-any-cpu_v3.whl",
	} {
		f.Add(s)
	}
	tags := TagsFor(Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 41})
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseFilename(s)
		if err != nil {
			return
		}
		if name.Raw != s || name.Name == "" || len(name.Python)*len(name.ABI)*len(name.Platform) == 0 {
			t.Errorf("%q gives %+v", s, name)
		}
		if _, ok := tags.Rank(name); ok != (tags.Why(name) == "") {
			t.Errorf("%q: Rank says %v, Why says %q", s, ok, tags.Why(name))
		}
	})
}
