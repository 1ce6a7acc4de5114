package locked

import (
	"reflect"
	"testing"

	"github.com/jubako/jubako/pkg/wheel"
)

func samplePackages(t testing.TB) []Selected {
	name, err := wheel.ParseFilename("demo-1.0-2a-cp312-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
	if err != nil {
		t.Fatal(err)
	}
	f := File{URL: "https://files.example/demo.whl", Hashes: []string{"sha256:ab"}, Size: 1 << 40, Sized: true}
	return []Selected{
		{Package: &Package{Name: "demo", Version: "1.0", Source: Source{Kind: Registry, Location: "https://index.example/simple"}, Wheels: []Wheel{{f, name}}, Sdist: &File{Path: "demo\x00.tar.gz"}}, Requires: []string{"other", "third"}},
		{Package: &Package{Name: "other", Source: Source{Kind: Git, Location: "https://git.example/x", Subdirectory: "s", Git: Commit{ID: "0f", Requested: "main", Path: "p", LFS: true}}, Hashes: []string{"sha256:cd", "sha512:ef"}}, Unsaid: true},
		{Package: &Package{Name: "third", Source: Source{Kind: Virtual, Location: "."}}},
	}
}

func TestRecord(t *testing.T) {
	for _, all := range [][]Selected{samplePackages(t), nil} {
		got, err := Unmarshal(Marshal(all))
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("%v\ncame back as %v, %v", all, got, err)
		}
	}
	whole := Marshal(samplePackages(t))
	for n := range whole {
		if _, err := Unmarshal(whole[:n]); err == nil {
			t.Errorf("cut after %d bytes of %d, it is taken", n, len(whole))
		}
	}
	if _, err := Unmarshal(append(whole, 0)); err == nil {
		t.Error("with a byte behind it, it is taken")
	}
}

// TestFit: one wheel is left, or nothing is.
func TestFit(t *testing.T) {
	all := samplePackages(t)
	other, err := wheel.ParseFilename("demo-1.0-py3-none-any.whl")
	if err != nil {
		t.Fatal(err)
	}
	all[0].Wheels = append(all[0].Wheels, Wheel{Filename: other})
	fits := wheel.TagsFor(wheel.Target{Major: 3, Minor: 12, Arch: "x86_64", Libc: "glibc", LibcMajor: 2, LibcMinor: 36})
	fitted, ok := Fit(all, fits, BuildOptions{})
	if !ok || len(fitted) != 3 || len(fitted[0].Wheels) != 1 || fitted[0].Wheels[0].Filename.Build.Number != 2 || len(all[0].Wheels) != 2 {
		t.Errorf("got %v, %v of %v", fitted, ok, all)
	}
	if _, ok := Fit(all[:1], fits, BuildOptions{NoBinary: true}); ok {
		t.Error("where none is to be used, one is left")
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(Marshal(samplePackages(f)))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, record []byte) {
		all, err := Unmarshal(record)
		if err != nil {
			return
		}
		if again, err := Unmarshal(Marshal(all)); err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("%v came back as %v, %v", all, again, err)
		}
	})
}
