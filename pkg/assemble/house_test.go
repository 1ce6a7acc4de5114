package assemble_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/jubako/jubako/"

// floors says how high a package lies in the house. A package imports only what lies lower: cmd → assemble → layers,
// base, output → fetch, sandbox, tarlayer … → wheel → fstree, cas and their like.
var floors = []struct {
	prefix string
	floor  int
}{
	{"cmd/", 6}, {"pkg/assemble", 5}, {"pkg/runimage", 5},
	{"layers/", 4}, {"pkg/output", 4}, {"pkg/imageconf", 1}, {"pkg/pins", 4},
	{"layers", 3}, {"pkg/base", 3}, {"pkg/step", 3},
	{"pkg/project", 2}, {"pkg/uvlock", 3}, {"pkg/pylock", 3}, {"pkg/requirements", 3}, {"pkg/locked", 2}, {"pkg/checkout/checkouttest", 0}, {"pkg/checkout", 2}, {"pkg/pybuild", 2}, {"pkg/rootfs", 1}, {"pkg/pycache", 3}, {"pkg/sandbox/sandboxtest", 3}, {"pkg/sandbox", 2}, {"pkg/fetch", 2}, {"pkg/observed", 1}, {"pkg/source", 1}, {"pkg/sdist", 2}, {"pkg/buildreq", 2}, {"pkg/pep517", 4},
	{"pkg/debfile", 1}, {"pkg/deb/archive", 3}, {"pkg/deb/debtest", 2}, {"pkg/deb", 1}, {"pkg/maintscript", 0}, {"pkg/ldcache", 0}, {"pkg/mimedb", 0}, {"pkg/tarlayer", 2}, {"pkg/regclient", 2}, {"pkg/accounts", 1}, {"pkg/registry", 2}, {"pkg/wheel/wheeltest", 2}, {"pkg/wheel", 1},
	{"pkg/attach", 1}, {"pkg/packed", 0}, {"pkg/pyimport", 0}, {"pkg/lazyre", 0}, {"pkg/xz", 0}, {"pkg/pep508", 0}, {"pkg/fstree", 0}, {"pkg/decompress", 0}, {"pkg/inflate", -1}, {"pkg/seekable", 0}, {"pkg/filehash", 0}, {"pkg/cas/castest", 1}, {"pkg/cas", 0}, {"pkg/hint", 0}, {"pkg/patience/patiencetest", 0}, {"pkg/patience", 0}, {"pkg/atomicfile", 0},
}

func floor(pkg string) (int, bool) {
	for _, f := range floors {
		if strings.HasPrefix(pkg, f.prefix) {
			return f.floor, true
		}
	}
	return 0, false
}

// TestHouse holds the architecture: imports point one way, and only base and output speak to registries by ggcr's remote.
func TestHouse(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages++
		name := strings.TrimPrefix(p.ImportPath, module)
		at, ok := floor(name)
		if !ok {
			t.Errorf("%s has no place in the house: give it a floor", name)
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/google/go-containerregistry/pkg/v1/remote") &&
				!strings.HasSuffix(imported, "/transport") && name != "pkg/base" && name != "pkg/output" {
				t.Errorf("%s imports %s: only pkg/base and pkg/output do", name, imported)
			}
			own, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			if below, _ := floor(own); below >= at {
				t.Errorf("%s imports %s, which does not lie below it", name, own)
			}
		}
	}
	if packages < 10 {
		t.Errorf("only %d packages were looked at", packages)
	}
}
