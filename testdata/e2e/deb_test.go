//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	jbase "github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/fetch"
)

// chroot is the base, unpacked, with apt's lists fetched.
type chroot struct{ dir string }

func newChroot(t *testing.T, img *jbase.Image) chroot {
	t.Helper()
	c := chroot{filepath.Join(must(t, "E2E_WORK"), "deb-root")}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command("rm", "-rf", "--one-file-system", c.dir).run(t) })
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		x := exec.Command("tar", "-xp", "--numeric-owner", "-C", c.dir)
		x.Stdin = r
		out, err := x.CombinedOutput()
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatalf("unpacking the base: %v\n%s", err, out)
		}
	}
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if b, err := os.ReadFile(f); err == nil {
			if err := os.WriteFile(filepath.Join(c.dir, f), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, errs, err := c.apt("update", "-qq").try(t); err != nil || strings.Contains(errs, "W:") {
		t.Fatalf("apt-get update: %v\n%s", err, errs)
	}
	return c
}

// apt is apt-get in the chroot. The base's apt keeps no cache, which makes it slow.
func (c chroot) apt(args ...string) cmd {
	return command("chroot", append([]string{c.dir, "apt-get", "-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin"}, args...)...).with("LC_ALL=C.UTF-8")
}

// install is what apt would do for a set: name and version of each package, or an error. A removal is a line as well.
func (c chroot) install(t *testing.T, set []string) ([]string, error) {
	out, errs, err := c.apt(append([]string{"install", "-s", "-qq", "--no-install-recommends"}, set...)...).try(t)
	if err != nil {
		return nil, errors.New(strings.TrimSpace(errs))
	}
	var lines []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "Inst":
			version := f[2]
			if strings.HasPrefix(version, "[") { // the one that is upgraded
				version = f[3]
			}
			name, _, _ := strings.Cut(f[1], ":")
			lines = append(lines, name+" "+strings.TrimPrefix(version, "("))
		case len(f) > 1 && f[0] == "Remv":
			lines = append(lines, "Remv "+f[1])
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// market is what jubako knows of the same base and archives.
type market struct {
	universe  *deb.Universe
	installed []*deb.Package
}

func newMarket(t *testing.T, img *jbase.Image) market {
	t.Helper()
	ctx := context.Background()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	dpkg, err := img.Dpkg(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	sources, err := deb.Sources(dpkg.Files)
	if err != nil {
		t.Fatal(err)
	}
	client := &archive.Client{Fetch: fetch.New(fetch.Options{Store: store}), Now: time.Now}
	var lists []deb.List
	for i, s := range sources {
		rings, err := s.Keyrings(dpkg.Files)
		if err != nil {
			t.Fatal(err)
		}
		suite, err := client.Open(ctx, s, archive.Trust{Keys: rings})
		if err != nil {
			t.Fatal(err)
		}
		l, err := client.List(ctx, suite, img.Platform.Architecture, i)
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, l)
	}
	status, err := dpkg.Status()
	if err != nil {
		t.Fatal(err)
	}
	m := market{universe: deb.NewUniverse(img.Platform.Architecture, lists)}
	if m.installed, err = status.Packages(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m market) install(set []string) ([]string, error) {
	p := deb.Problem{Universe: m.universe, Installed: m.installed}
	for _, s := range set {
		q, err := deb.ParseRequest(s)
		if err != nil {
			return nil, err
		}
		p.Request = append(p.Request, q)
	}
	res, err := deb.Resolve(p)
	if err != nil {
		return nil, err
	}
	lines := []string{}
	for _, c := range res.Choices {
		lines = append(lines, c.Name+" "+string(c.Version))
	}
	slices.Sort(lines)
	return lines, nil
}

// entries reads a file of this folder: one entry a line, # for comments.
func entries(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			all = append(all, l)
		}
	}
	return all
}

// TestDebianResolver compares jubako's answers with apt's, for the sets of deb-sets.txt: the same packages at the same
// versions, or an error from both. What differs for a reason stands in deb-sets.golden: the set, a colon, the reason.
func TestDebianResolver(t *testing.T) {
	src, err := jbase.ParseSource(base(t))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := jbase.Open(context.Background(), src, jbase.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	img, err := opened.Image(context.Background(), v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	c, m := newChroot(t, img), newMarket(t, img)
	differs := make(map[string]string)
	for _, l := range entries(t, "deb-sets.golden") {
		set, reason, ok := strings.Cut(l, ": ")
		if !ok || reason == "" {
			t.Fatalf("deb-sets.golden: %q has no reason", l)
		}
		differs[set] = reason
	}
	sets := entries(t, "deb-sets.txt")
	if os.Getenv("E2E_FULL") == "" { // apt takes a second or two for each
		for i := range len(sets) / 2 {
			sets[i] = sets[2*i]
		}
		sets = sets[:len(sets)/2]
	}
	if len(sets) < 150 {
		t.Fatalf("only %d sets", len(sets))
	}
	if _, err := c.install(t, strings.Fields(sets[0])); err != nil { // fills apt's cache
		t.Fatal(err)
	}
	jobs := make(chan string)
	go func() {
		defer close(jobs)
		for _, s := range sets {
			jobs <- s
		}
	}()
	var wg sync.WaitGroup
	var mu sync.Mutex
	equal, refused := 0, 0
	for range 2 {
		wg.Go(func() {
			for set := range jobs {
				want, werr := c.install(t, strings.Fields(set))
				mu.Lock() // a universe is not safe for concurrent use
				got, gerr := m.install(strings.Fields(set))
				same := (werr == nil) == (gerr == nil) && (werr != nil || slices.Equal(want, got))
				switch reason, known := differs[set]; {
				case same && known:
					t.Errorf("%s: is equal by now, and deb-sets.golden says %q", set, reason)
				case same:
					equal++
				case !known:
					t.Errorf("%s:\napt    %s (%v)\njubako %s (%v)", set, beyond(want, got), werr, beyond(got, want), gerr)
				}
				if same && werr != nil {
					refused++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d sets equal, %d of them refused by both", equal, len(sets), refused)
}

// beyond is what one list has and the other lacks.
func beyond(a, b []string) []string {
	var only []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, x)
		}
	}
	return only
}

// TestDebianLock pins packages of the real archive, and builds with them from the lock alone.
func TestDebianLock(t *testing.T) {
	dir := project(t)
	set := []string{"--set", `packages=["curl", "libpq5"]`}
	jubako(t, append([]string{"lock", dir, "--base", base(t)}, set...)...).run(t)
	jubako(t, append([]string{"lock", dir, "--base", base(t), "--check"}, set...)...).run(t)
	out := "oci-archive:" + filepath.Join(t.TempDir(), "app.tar")
	_, log, err := jubako(t, append([]string{"build", dir, "--base", base(t), "--frozen-base", "-o", out, "-v"}, set...)...).try(t)
	if err != nil || strings.Contains(log, "not pinned") || strings.Contains(log, "resolved in") {
		t.Errorf("%v\n%s", err, log)
	}
	_, log, err = jubako(t, "build", dir, "--base", base(t), "--set", `packages=["wget"]`, "--frozen-base", "-o", out).try(t)
	if e := new(exec.ExitError); !errors.As(err, &e) || e.ExitCode() != 2 || !strings.Contains(log, "does not pin") {
		t.Errorf("packages that are not locked: %v\n%s", err, log)
	}
}
