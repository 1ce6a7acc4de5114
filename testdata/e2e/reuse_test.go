//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// staticState is how a build came by the layer of static files.
func staticState(log string) string {
	return strings.Join(regexp.MustCompile(`(?m)staticfiles +(made|reused) +(no file it read has changed)?`).FindStringSubmatch(log)[1:], " ")
}

// TestViewRunsNothing: collectstatic of a real Django project runs again for its settings and its static files, and for no view,
// URL or template: on every rung that traces, and on a machine with an empty disk by what went with the image.
func TestViewRunsNothing(t *testing.T) {
	t.Parallel()
	for _, rung := range []string{"userns", "chroot", "ptrace"} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			dir, cache := project(t), t.TempDir()
			ref := must(t, "E2E_REGISTRY") + "/team/reuse-" + rung + ":1"
			build := func(args ...string) (digest, log string) {
				t.Helper()
				args = append([]string{"build", "-v", "--sandbox", rung, "--base", base(t), dir}, args...)
				stdout, log, err := jubako(t, args...).with("JUBAKO_CACHE_DIR=" + cache).try(t)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				return stdout[strings.LastIndex(stdout, "sha256:"):], log
			}
			change := func(name, text string) {
				t.Helper()
				f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err == nil {
					_, err = f.WriteString(text)
				}
				if err == nil {
					err = f.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			same := func(name, digest string) {
				t.Helper()
				if anew, log := build("--no-reuse"); anew != digest || staticState(log) != "made " {
					t.Errorf("%s: %s, and made anew %s\n%s", name, digest, anew, log)
				}
			}
			_, log := build("-t", ref, "--push")
			if staticState(log) != "made " {
				t.Fatal(log)
			}
			t.Log(regexp.MustCompile(`staticfiles looked at.*`).FindString(log))
			unread := []string{"menu/views.py", "menu/urls.py", "menu/serializers.py", "bento/urls.py", "menu/templates/menu/index.html"}
			read := map[string]string{"bento/settings/base.py": "/app/bento/settings/base.py has changed", "menu/static/menu/new.css": "/app/menu/static/menu holds other files", "menu/models.py": "/app/menu/models.py has changed"}
			if rung != "userns" { // the rungs differ in how they trace, and not in what is made of it
				unread = unread[:1]
				delete(read, "menu/models.py")
			}
			for _, name := range unread {
				change(name, "\n")
				digest, log := build()
				if staticState(log) != "reused no file it read has changed" {
					t.Errorf("%s has changed, and\n%s", name, log)
				}
				if name == "menu/views.py" {
					same(name, digest)
				}
			}
			for name, why := range read {
				change(name, "\n")
				digest, log := build()
				if staticState(log) != "made " || !strings.Contains(log, "staticfiles is made anew: "+why) {
					t.Errorf("%s has changed, and\n%s", name, log)
				}
				same(name, digest)
			}
			// By now the modules that it imports have bytecode, and the files are those that it makes without.
			digest, log := build("--no-reuse")
			if found := regexp.MustCompile(`bytecode of \d{3,} modules was there, and was made of 0 more`); runtime.NumCPU() > 1 && !found.MatchString(log) {
				t.Errorf("no bytecode was kept:\n%s", log)
			}
			if rung == "userns" {
				cache = t.TempDir()
				if anew, _ := build(); anew != digest {
					t.Errorf("with bytecode %s, and without %s", digest, anew)
				}
			}
			// Another machine, and the image of the beginning with a new view.
			dir, cache = project(t), t.TempDir()
			for i := range 2 {
				change("menu/views.py", fmt.Sprintf("# %d\n", i))
				if _, log := build("-t", ref, "--push"); staticState(log) != "reused no file it read has changed" {
					t.Errorf("on an empty disk, %d:\n%s", i, log)
				}
				cache = t.TempDir()
			}
		})
	}
}
