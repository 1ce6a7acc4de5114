package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/attach"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/regclient"
)

// manyFiles are as many paths as a slim base has, beside those of baseFiles.
func manyFiles() (files []entry) {
	r := rand.New(rand.NewPCG(3, 12))
	word := func() string {
		b := make([]byte, 3+r.IntN(9))
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		return string(b)
	}
	content := func() []byte { return []byte(word() + word() + word() + word()) }
	for range 450 {
		files = append(files, entry{name: "usr/bin/" + word(), data: content(), mode: 0o755})
	}
	for range 500 {
		dir := "usr/share/" + word() + "/" + word() + "/"
		files = append(files, entry{name: dir, mode: 0o755})
		for range 10 {
			files = append(files, entry{name: dir + word() + ".py", data: content(), mode: 0o644})
		}
	}
	return files
}

// freshWorld has a base of many files in the registry, and a project of which nothing runs.
func freshWorld(t *testing.T) (w *world, tag string) {
	t.Helper()
	w = newWorld(t)
	w.base = "oci:" + makeBase(t, append(baseFiles(must(fakePython())), manyFiles()...))
	return w, w.inRegistry()
}

// inRegistry brings the base into the registry.
func (w *world) inRegistry() (tag string) {
	w.t.Helper()
	w.edit("pyproject.toml", "[tool.jubako.staticfiles]\noutput = \"staticfiles\"\nenv = { DO = \"write /app/staticfiles/site.css body{}\" }", "[tool.jubako]\nstaticfiles = false")
	if code, _, log := w.jubako("push", w.base, w.host()+"/base/python:3"); code != 0 {
		w.t.Fatal(log)
	}
	w.base = w.host() + "/base/python:3"
	return w.host() + "/team/site:1"
}

// fresh builds as a machine with an empty disk, and gives what was printed, what was said, and what was pulled.
func (w *world) fresh(args ...string) (stdout, log string, pulled int64) {
	w.t.Helper()
	w.t.Setenv("JUBAKO_CACHE_DIR", w.t.TempDir())
	w.pulled.Store(0)
	stdout, log = w.build(append(args, "-v")...)
	return stdout, log, w.pulled.Load()
}

// digest is that of what was printed.
func digest(stdout string) string { return stdout[strings.LastIndex(stdout, "@")+1:] }

// mostPulled is what a machine with an empty disk may pull, in bytes, where the registry has the last image.
const mostPulled = 40_000

// TestFreshMachine: a machine with an empty disk, the registry's last image, and one line changed: it pulls manifests, configs
// and facts, and pushes what the machine that has read the base itself would have made.
func TestFreshMachine(t *testing.T) {
	for format, more := range map[string][]string{
		"oci": nil, "docker": {"--format", "docker"}, "an index": {"--platform", "linux/amd64,linux/arm64"},
	} {
		t.Run(format, func(t *testing.T) {
			w, tag := freshWorld(t)
			if format == "an index" {
				w.base = "oci:" + makeBase(t, append(baseFiles(must(fakePython())), manyFiles()...))
				w.base, _ = w.twoPlatforms()
				if code, _, log := w.jubako("push", w.base, w.host()+"/base/python:3"); code != 0 {
					t.Fatal(log)
				}
				w.base = w.host() + "/base/python:3"
			}
			flags := append([]string{"-t", tag, "--push"}, more...)
			w.build(flags...)
			w.write("mysite/views.py", "x = 1\n")
			want, _ := w.build(append([]string{"-t", w.host() + "/other/site:1", "--push"}, more...)...)
			w.serve = func(_ http.ResponseWriter, r *http.Request) bool {
				t.Errorf("%s was fetched", r.URL)
				return false
			}
			got, log, pulled := w.fresh(flags...)
			if digest(got) != digest(want) {
				t.Errorf("the image is another one: %s, want %s\n%s", got, want, log)
			}
			if t.Logf("%d bytes were pulled", pulled); pulled > mostPulled {
				t.Errorf("%d bytes were pulled, at most %d may be\n%s", pulled, mostPulled, log)
			}
			for _, layer := range []string{"passwd       reused", "venv         reused", "app          made"} {
				if !strings.Contains(log, layer) {
					t.Errorf("the log lacks %q:\n%s", layer, log)
				}
			}
			// What it has pushed serves the next one.
			w.write("mysite/views.py", "x = 2\n")
			if _, log, pulled := w.fresh(flags...); pulled > mostPulled {
				t.Errorf("%d bytes were pulled by the second one\n%s", pulled, log)
			}
			// On the same machine nothing is asked again.
			w.pulled.Store(0)
			if _, log := w.build(flags...); w.pulled.Load() > mostPulled || strings.Contains(log, " made ") {
				t.Errorf("nothing has changed, and %d bytes were pulled:\n%s", w.pulled.Load(), log)
			}
		})
	}
}

// TestFreshMachineAsksMore: what the facts that travel leave open is read in the base, and the result is the same.
func TestFreshMachineAsksMore(t *testing.T) {
	w, tag := freshWorld(t)
	w.build("-t", tag, "--push")
	w.edit("pyproject.toml", "[tool.jubako]\n", "[tool.jubako]\nworkdir = \"/usr/share/site\"\n")
	want, _ := w.build("-t", w.host()+"/other/site:1", "--push")
	got, log, _ := w.fresh("-t", tag, "--push")
	if digest(got) != digest(want) {
		t.Errorf("the image is another one: %s, want %s\n%s", got, want, log)
	}
	w.edit("pyproject.toml", "/usr/share/site", "/usr/local/include/python3.12/site")
	want, _ = w.build("-t", w.host()+"/other/site:1", "--push")
	if got, log, _ = w.fresh("-t", tag, "--push"); digest(got) != digest(want) || !strings.Contains(log, "does not tell everything") {
		t.Errorf("the image is %s, want %s\n%s", got, want, log)
	}
}

// TestCopiedImage: a copy made without what is attached serves as before, but that the base is read.
func TestCopiedImage(t *testing.T) {
	w, tag := freshWorld(t)
	w.build("-t", tag, "--push")
	far := w.host() + "/far/site:1"
	if code, _, log := w.jubako("push", tag, far); code != 0 {
		t.Fatal(log)
	}
	w.write("mysite/views.py", "x = 1\n")
	want, _ := w.build("-t", tag, "--push")
	got, log, pulled := w.fresh("-t", far, "--push")
	if digest(got) != digest(want) || pulled < mostPulled || !strings.Contains(log, "no summary of ") || !regexp.MustCompile(`venv +reused .*from the registry`).MatchString(log) {
		t.Errorf("%s, want %s, %d bytes pulled\n%s", got, want, pulled, log)
	}
	// Another image that may be looked at has them, wherever the result goes.
	w.write("mysite/views.py", "x = 2\n")
	if _, log, pulled = w.fresh("-t", w.host()+"/new/site:1", "--push", "--cache-from", tag); pulled > mostPulled {
		t.Errorf("%d bytes pulled with --cache-from\n%s", pulled, log)
	}
	w.write("mysite/views.py", "x = 3\n")
	if _, log, pulled = w.fresh("-t", w.host()+"/new/site:1", "--push"); pulled > mostPulled {
		t.Errorf("%d bytes pulled from what was made with --cache-from\n%s", pulled, log)
	}
	if _, log, pulled = w.fresh("-t", tag, "--push", "--no-cache"); pulled < mostPulled || strings.Contains(log, "was attached") {
		t.Errorf("%d bytes pulled with --no-cache\n%s", pulled, log)
	}
}

// replaceAttached puts attachments in the place of those of the image that a tag leads to.
func (w *world) replaceAttached(repo, tag string, change func(name string, data []byte) []byte) {
	w.t.Helper()
	ctx := context.Background()
	client := regclient.New(regclient.Options{})
	ref := w.host() + "/" + repo + ":" + tag
	opened := must(base.Open(ctx, base.Source{Kind: base.Registry, Ref: ref}, base.Options{Client: client}))
	resp := must(http.Get(w.registry.URL + "/v2/" + repo + "/referrers/" + opened.Digest.String()))
	defer resp.Body.Close()
	var list v1.IndexManifest
	if err := json.Unmarshal(must(io.ReadAll(resp.Body)), &list); err != nil || len(list.Manifests) != 1 {
		w.t.Fatalf("%+v, %v", list, err)
	}
	at := w.registry.URL + "/v2/" + repo + "/manifests/"
	old := must(http.Get(at + list.Manifests[0].Digest.String()))
	defer old.Body.Close()
	var with output.AttachOptions
	for _, e := range must(attach.Parse(must(io.ReadAll(old.Body)))) {
		with.Attachments = append(with.Attachments, attach.Attachment{Name: e.Name, Data: change(e.Name, e.Data)})
	}
	// The image is taken away and brought again: attachments are brought only along with it.
	for _, d := range []string{list.Manifests[0].Digest.String(), opened.Digest.String()} {
		req := must(http.NewRequest(http.MethodDelete, at+d, nil))
		if resp := must(http.DefaultClient.Do(req)); resp.StatusCode != http.StatusAccepted {
			w.t.Fatal(resp.Status)
		}
	}
	o := output.PushOptions{Client: client, Attach: func() output.AttachOptions { return with }}
	if _, err := output.Push(ctx, o, must(artifactOf(ctx, opened)), []name.Reference{must(client.Reference(ref))}); err != nil {
		w.t.Fatal(err)
	}
}

// TestFactsThatLie: whoever may push to the tag may have written what is attached. What cannot be is not used; what makes the
// build fail is looked at again; and no other image's build believes it.
func TestFactsThatLie(t *testing.T) {
	for what, change := range map[string]func(w *world, data []byte) []byte{
		"cut":     func(_ *world, data []byte) []byte { return data[:len(data)/2] },
		"damaged": func(_ *world, data []byte) []byte { return append(bytes.Clone(data[:len(data)-9]), "012345678"...) },
		"of another form": func(_ *world, data []byte) []byte {
			return bytes.Replace(data, []byte("summary 1"), []byte("summary 9"), 1)
		},
		"empty":     func(*world, []byte) []byte { return []byte{} },
		"too large": func(_ *world, data []byte) []byte { return slices.Concat(data, make([]byte, 2<<20)) },
		"of another base": func(w *world, _ []byte) []byte {
			return w.summary(func(i *base.Image, _ *base.Facts) { i.Digest.Hex = strings.Repeat("0", 64) })
		},
		"no Python": func(w *world, _ []byte) []byte {
			return w.summary(func(_ *base.Image, f *base.Facts) { f.Python, f.Libc = base.Python{}, base.Libc{} })
		},
		"no id that is free": func(w *world, _ []byte) []byte {
			return w.summary(func(_ *base.Image, f *base.Facts) {
				for id := range 1000 {
					f.Group = fmt.Appendf(f.Group, "g%d:x:%d:\n", id, id)
				}
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, tag := freshWorld(t)
			w.build("-t", tag, "--push")
			w.replaceAttached("team/site", "1", func(_ string, data []byte) []byte { return change(w, data) })
			w.write("mysite/views.py", "x = 1\n")
			want, _ := w.build("-t", w.host()+"/other/site:1", "--push")
			got, log, _ := w.fresh("-t", tag, "--push")
			if digest(got) != digest(want) {
				t.Errorf("the image is %s, want %s\n%s", got, want, log)
			}
			if !strings.Contains(log, "is not used: ") && !strings.Contains(log, "it was read anew") && what != "empty" {
				t.Errorf("the log does not say why:\n%s", log)
			}
			w.write("mysite/views.py", "x = 2\n")
			if _, log, pulled := w.fresh("-t", tag, "--push"); pulled > mostPulled {
				t.Errorf("the next machine pulled %d bytes\n%s", pulled, log)
			}
		})
	}
}

// summary makes the summary of the base with something changed in it.
func (w *world) summary(change func(*base.Image, *base.Facts)) []byte {
	w.t.Helper()
	ctx := context.Background()
	opened := must(base.Open(ctx, base.Source{Kind: base.Registry, Ref: w.base}, base.Options{Client: regclient.New(regclient.Options{})}))
	img := must(opened.Image(ctx, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	f := must(img.Facts(ctx, nil))
	change(img, f)
	return must(img.Summarize(f, must(img.Dpkg(ctx, nil))))
}

// TestLieStaysAtHome: what a repository says of a base goes into that repository's images, as its layers do, and into no other's.
func TestLieStaysAtHome(t *testing.T) {
	w, tag := freshWorld(t)
	w.build("-t", tag, "--push")
	honest, _ := w.build("-t", w.host()+"/other/site:1", "--push")
	w.replaceAttached("team/site", "1", func(string, []byte) []byte {
		return w.summary(func(_ *base.Image, f *base.Facts) { f.Passwd = append(f.Passwd, "evil:x:0:0::/:/bin/sh\n"...) })
	})
	got, log, _ := w.fresh("-t", tag, "--push")
	if digest(got) == digest(honest) || !strings.Contains(log, "was attached to an image in") {
		t.Fatalf("the lie is not believed, and the test tests nothing:\n%s", log)
	}
	for _, to := range []string{"/third/site:1", "/other/site:1"} {
		if got, log := w.build("-t", w.host()+to, "--push", "-v"); digest(got) != digest(honest) {
			t.Errorf("%s is built with what team/site says\n%s", to, log)
		}
	}
	// Now this machine has read the base itself.
	if got, log := w.build("-t", tag, "--push"); digest(got) != digest(honest) {
		t.Errorf("what was read counts less than what was said\n%s", log)
	}
}
