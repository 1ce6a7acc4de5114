package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopyLeavesSecrets: the file of a step's secret is in no copy of the folder where it lies, and is no copy itself.
func TestCopyLeavesSecrets(t *testing.T) {
	w := stepWorld(t, `
[[tool.jubako.step]]
name = "private"
command = ["prog", "cat", "/run/secrets/.npmrc", ";", "write", "dist", "built"]
output = ["dist"]
secret = ["file:frontend/.npmrc"]
`)
	const value = "//npm.example/:_auth=qwe-7788-zzz"
	w.write("frontend/.npmrc", value+"\n")
	w.write("frontend/app.js", "js")
	w.write("frontend/old/.npmrc", "another")
	w.write(".dockerignore", "frontend\n")
	if err := os.Symlink(filepath.Join(w.dir, "frontend"), filepath.Join(w.dir, "../front")); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"frontend", "../front", "."} {
		out := filepath.Join(t.TempDir(), "out")
		w.build("-o", "oci:"+out, "--set", `copy=[{from="`+from+`",to="static"}]`)
		files := imageFiles(t, out)
		at := "app/static/"
		if from == "." {
			at += "frontend/"
		}
		if _, there := files[at+".npmrc"]; there || files[at+"app.js"] != "js" || files[at+"old/.npmrc"] != "another" || files["app/dist"] != "built" {
			t.Errorf("from %s: %q, %q, %q, %q", from, files[at+".npmrc"], files[at+"app.js"], files[at+"old/.npmrc"], files["app/dist"])
		}
		nowhere(t, out, value)
	}
	for _, from := range []string{"frontend/.npmrc", "../front/.npmrc"} {
		code, _, log := w.jubako("build", "--base", w.base, w.dir, "--set", `copy=[{from="`+from+`",to="static/npmrc"}]`)
		if code != 2 || !strings.Contains(log, "it is the secret of a step") {
			t.Errorf("from %s: %d\n%s", from, code, log)
		}
	}
}
