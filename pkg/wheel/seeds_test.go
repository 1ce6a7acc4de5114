package wheel

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/jubako/jubako/pkg/fstree"
)

// realWheels are wheels of a sample project as the real backends make them (testdata/oracle/cases/backend-*).
func realWheels(f *testing.F) []string {
	f.Helper()
	files, err := filepath.Glob("testdata/seeds/*.whl")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	return files
}

// addReal adds the real wheels' files of these names as seeds.
func addReal(f *testing.F, names ...string) {
	f.Helper()
	for _, file := range realWheels(f) {
		r, err := zip.OpenReader(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range r.File {
			for _, name := range names {
				if path.Base(e.Name) != name {
					continue
				}
				in, err := e.Open()
				if err != nil {
					f.Fatal(err)
				}
				b, err := io.ReadAll(in)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(b)
			}
		}
		if err := r.Close(); err != nil {
			f.Fatal(err)
		}
	}
}

// addRealWheels adds the wheels themselves.
func addRealWheels(f *testing.F) {
	f.Helper()
	for _, file := range realWheels(f) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// TestRealWheels opens and installs every seed.
func TestRealWheels(t *testing.T) {
	files, err := filepath.Glob("testdata/seeds/*.whl")
	if err != nil || len(files) < 6 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, err := Open(bytes.NewReader(b), int64(len(b)), "sam_ple-1.2-py3-none-any.whl")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		tree := &fstree.Tree{}
		if err := Install(tree, a, testVenv, InstallOptions{}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if _, ok := tree.Lookup(testVenv.Path + "/bin/sam-ple"); !ok {
			t.Errorf("%s: the script is missing", file)
		}
	}
}
