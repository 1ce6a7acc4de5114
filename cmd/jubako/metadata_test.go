package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMetadataThatCannotBeWritten: that is found out before the image goes anywhere, and leaves nothing behind.
func TestMetadataThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "--base", w.base, w.dir, "-t", w.host() + "/team/site:1", "--push", "--metadata-file"}
	for _, meta := range []string{filepath.Join(dir, "missing", "meta.json"), filepath.Join(file, "meta.json"), dir} {
		code, stdout, log := w.jubako(append(args, meta)...)
		if code != 2 || stdout != "" || !strings.Contains(log, "--metadata-file: ") {
			t.Errorf("%s: exit code %d, stdout %q\n%s", meta, code, stdout, log)
		}
	}
	if got := w.tags("team/site"); !strings.Contains(got, "NAME_UNKNOWN") {
		t.Errorf("the registry has %s", got)
	}

	// A build that fails later leaves the file as it was.
	w.refuseWith(http.StatusForbidden)
	for _, meta := range []string{filepath.Join(dir, "meta.json"), file} {
		if code, _, log := w.jubako(append(args, meta)...); code != 3 {
			t.Errorf("exit code %d\n%s", code, log)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestMetadataAfterTheResult: a folder that a layout brings is enough, and where the metadata cannot be written after all, what was
// built is printed all the same.
func TestMetadataAfterTheResult(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "dist")
	layout := "oci:" + filepath.Join(dir, "site")
	stdout, _ := w.build("-o", layout, "--metadata-file", filepath.Join(dir, "meta.json"))
	if fi, err := os.Stat(filepath.Join(dir, "meta.json")); err != nil || fi.Size() == 0 {
		t.Error(err)
	}
	code, again, log := w.jubako("build", "--base", w.base, w.dir, "-o", layout, "--metadata-file", "/dev/full")
	if code != 1 || strings.TrimSpace(again) != stdout || !strings.Contains(log, "writing the metadata") {
		t.Errorf("exit code %d, stdout %q\n%s", code, again, log)
	}
}
