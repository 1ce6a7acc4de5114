package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/jubako/jubako/pkg/checkout/checkouttest"
)

// TestRevision: the image says which commit it was built of, and when that is not the whole truth.
func TestRevision(t *testing.T) {
	w := newWorld(t)
	revision := func() string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		w.build("-o", "oci:"+out)
		var conf struct {
			Config struct{ Labels map[string]string }
		}
		if err := json.Unmarshal([]byte(w.inspect("oci:"+out).config), &conf); err != nil {
			t.Fatal(err)
		}
		return conf.Config.Labels["org.opencontainers.image.revision"]
	}
	if got := revision(); got != "" {
		t.Errorf("%q, where there is no repository", got)
	}
	commit := checkouttest.Commit(t, w.dir)
	if got := revision(); got != commit {
		t.Errorf("%q, not %s", got, commit)
	}
	w.write("mysite/asgi.py", "application = 1\n")
	if got := revision(); got != commit+"-dirty" {
		t.Errorf("%q, not %s-dirty", got, commit)
	}
}
