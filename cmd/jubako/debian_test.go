package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/deb/debtest"
	"github.com/jubako/jubako/pkg/pins"
)

// market is a world with a Debian archive, and a base whose apt knows it.
type market struct {
	*world
	*debtest.Archive
	key   debtest.Key
	suite debtest.Suite
}

const ring = "usr/share/keyrings/archive.pgp"

func newMarket(t *testing.T) *market {
	m := &market{world: newWorld(t), Archive: debtest.Serve(t), key: debtest.NewKey(t, time.Now().AddDate(-1, 0, 0), 0)}
	m.suite = debtest.Suite{Name: "trixie", Arch: runtime.GOARCH, Date: time.Now().Add(-time.Hour), ByHash: true, Keys: []debtest.Key{m.key}, Packages: []debtest.Package{
		m.pkg("hello", "1.0", "Depends: libgreet (>= 1)", "usr/bin/hello"), m.pkg("libgreet", "1.0", "", "usr/lib/libgreet.txt"), m.pkg("libc6", "2.42", "", "usr/lib/libc6.txt"),
		m.pkg("newer", "1.0", "Depends: libc6 (>= 2.42)", "usr/bin/newer"), m.pkg("exim", "1", "Provides: mta", "usr/sbin/exim"), m.pkg("postfix", "1", "Provides: mta", "usr/sbin/postfix"),
		m.pkg("foe", "1", "Conflicts: libc6", "usr/bin/foe"), m.pkg("victim", "1", "Depends: foe", "usr/bin/victim"),
	}}
	m.publish()
	m.base = m.baseWith("Package: libc6\nStatus: install ok installed\nArchitecture: " + runtime.GOARCH + "\nVersion: 2.41\n")
	return m
}

func (m *market) pkg(name, version, more, file string) debtest.Package {
	if more != "" {
		more += "\n"
	}
	return debtest.Package{Control: fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody\n%sDescription: %s\n", name, version, runtime.GOARCH, more, name),
		Files: map[string]string{file: name + " " + version + "\n"}}
}

func (m *market) publish() { m.Publish(m.t, "/debian", m.suite) }

// baseWith makes a base with packages installed.
func (m *market) baseWith(status string, more ...entry) string {
	python, err := fakePython()
	if err != nil {
		m.t.Fatal(err)
	}
	sources := fmt.Sprintf("Types: deb\n# %s/snapshot/debian/20260301T000000Z\nURIs: %s/debian\nSuites: trixie\nComponents: main\nSigned-By: /%s\n", m.Archive.URL, m.Archive.URL, ring)
	return "oci:" + makeBase(m.t, append(append(baseFiles(python), more...), entry{name: "var/lib/dpkg/status", data: []byte(status), mode: 0o644},
		entry{name: "var/lib/dpkg/info/libc6.list", data: []byte("/.\n/usr\n/usr/lib\n/usr/lib/libc.so.6\n"), mode: 0o644},
		entry{name: "etc/apt/sources.list.d/debian.sources", data: []byte(sources), mode: 0o644}, entry{name: ring, data: m.key.Ring(m.t, false), mode: 0o644}))
}

const wantHello = `packages=["hello"]`

func (m *market) lockHello(args ...string) (code int, stdout, log string) {
	return m.jubako(append([]string{"lock", "--base", m.base, m.dir, "--set", wantHello}, args...)...)
}

// digest is the line that a build prints.
func (m *market) buildHello(args ...string) (code int, digest, log string) {
	m.t.Helper()
	return m.jubako(append([]string{"build", "--base", m.base, m.dir, "--set", wantHello, "--set", "staticfiles=false", "--set", `exclude=["jubako.lock"]`}, args...)...)
}

// emptyCache lets the next run begin with nothing.
func (m *market) emptyCache() { m.t.Setenv("JUBAKO_CACHE_DIR", m.t.TempDir()) }

func expect(t *testing.T, what string, code, want int, log string, parts ...string) {
	t.Helper()
	if code != want {
		t.Errorf("%s: exit code %d, want %d\n%s", what, code, want, log)
	}
	for _, p := range parts {
		if !strings.Contains(log, p) {
			t.Errorf("%s: %q is missing in\n%s", what, p, log)
		}
	}
}

// TestPackages builds with and without a lock: the same image.
func TestPackages(t *testing.T) {
	m := newMarket(t)
	code, first, log := m.buildHello()
	expect(t, "without a lock", code, 0, log, "Debian packages are not pinned", "debian       made     hello + 1 packages")
	if n := m.Asked("/by-hash/"); n != 1 {
		t.Errorf("the list was fetched %d times", n)
	}
	code, again, log := m.buildHello()
	expect(t, "once more", code, 0, log, "debian       reused")
	if again != first || m.Asked("/by-hash/") != 1 || m.Asked(".deb") != 2 {
		t.Errorf("%q and %q; %d lists, %d packages", first, again, m.Asked("/by-hash/"), m.Asked(".deb"))
	}
	code, _, log = m.buildHello("--frozen-base")
	expect(t, "frozen without a lock", code, 2, log, "jubako lock pins it")

	code, _, log = m.lockHello()
	expect(t, "lock", code, 0, log)
	asked := m.Asked("/dists/")
	m.emptyCache()
	code, locked, log := m.buildHello("--frozen-base")
	expect(t, "with a lock", code, 0, log)
	if locked != first || strings.Contains(log, "not pinned") || m.Asked("/dists/") != asked {
		t.Errorf("%q and %q, %d requests for lists\n%s", first, locked, m.Asked("/dists/")-asked, log)
	}
	code, _, log = m.jubako("build", "--base", m.base, m.dir, "--set", `packages=["newer"]`, "--frozen-base")
	expect(t, "packages that are not locked", code, 2, log, "does not pin the Debian packages [newer]", "jubako lock --upgrade")
	for _, flag := range []string{"--check", ""} {
		code, _, log = m.lockHello(strings.Fields(flag)...)
		expect(t, "lock "+flag, code, 0, log)
	}
}

// TestLockMoves publishes another version behind a lock's back.
func TestLockMoves(t *testing.T) {
	m := newMarket(t)
	code, _, log := m.lockHello()
	expect(t, "lock", code, 0, log)
	file := filepath.Join(m.dir, pins.Name)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m.suite.Packages[1] = m.pkg("libgreet", "1.1", "", "usr/lib/libgreet.txt")
	m.suite.Date = m.suite.Date.Add(time.Minute)
	m.publish()
	code, _, log = m.lockHello()
	expect(t, "lock again", code, 0, log, "pins", "already")
	code, _, log = m.lockHello("--check")
	expect(t, "lock --check", code, 4, log, "libgreet 1.1 was 1.0 (linux/"+runtime.GOARCH+")")
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(before, now) {
		t.Error("the lock was written")
	}
	code, _, log = m.lockHello("--upgrade")
	expect(t, "lock --upgrade", code, 0, log, "libgreet 1.1 was 1.0")
	code, _, log = m.lockHello("--check")
	expect(t, "lock --check", code, 0, log)

	// Other packages are locked without being told to, and the base stays.
	code, _, log = m.jubako("lock", "--base", m.base, m.dir, "--set", `packages=["newer"]`, "--set", `build-packages=["hello"]`)
	expect(t, "lock of others", code, 0, log, "newer 1.0 is new: requested", "libc6 2.42 is new: needed by newer", "no longer asked for")
	f, err := pins.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := f.Debian.Closure("linux/"+runtime.GOARCH, []string{"hello"}, []string{"newer"}); !ok || len(c.Packages) != 2 {
		t.Errorf("build-packages: %+v", f.Debian.Closures)
	}
}

// TestLockOfProfiles pins what the other profiles ask for as well.
func TestLockOfProfiles(t *testing.T) {
	m := newMarket(t)
	m.write("pyproject.toml", pyproject+"\n[tool.jubako]\npackages = [\"hello\"]\n[tool.jubako.profile.dev]\npackages = [\"newer\", \"hello\"]\n")
	code, _, log := m.jubako("lock", "--base", m.base, m.dir)
	expect(t, "lock", code, 0, log)
	f, err := pins.Read(filepath.Join(m.dir, pins.Name))
	if err != nil || len(f.Debian.Closures) != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, profile := range []string{"prod", "dev"} {
		code, _, log = m.jubako("build", "--base", m.base, m.dir, "-p", profile, "--frozen-base", "--set", "staticfiles=false")
		expect(t, profile, code, 0, log)
	}
	code, _, log = m.jubako("lock", "--base", m.base, m.dir, "-p", "dev")
	expect(t, "the lock of another profile", code, 0, log, "already")
}

// TestPlaces looks for a locked package on the mirror, in the archive and in the snapshot.
func TestPlaces(t *testing.T) {
	m := newMarket(t)
	code, _, log := m.lockHello()
	expect(t, "lock", code, 0, log)
	text, err := os.ReadFile(filepath.Join(m.dir, pins.Name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := pins.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(f.Debian.Sources[0].Snapshot, m.Archive.URL)
	if !strings.HasPrefix(at, "/snapshot/debian/") || strings.HasSuffix(at, "20260301T000000Z") {
		t.Fatalf("snapshot %q", at)
	}
	path := "/" + f.Debian.Closures[0].Packages[0].Path
	file := m.Get("/debian" + path)
	m.emptyCache()
	m.Put("/debian"+path, nil) // superseded
	code, _, log = m.buildHello()
	expect(t, "nowhere", code, 3, log, "package hello=1.0", "404", "jubako lock --upgrade")
	m.Put(at+path, file)
	code, _, log = m.buildHello()
	expect(t, "in the snapshot", code, 0, log)
	m.emptyCache()
	m.Put(at+path, nil)
	m.Put("/mirror/debian"+path, file)
	code, _, log = m.buildHello("--deb-mirror", m.Archive.URL+"/mirror/debian/")
	expect(t, "on the mirror", code, 0, log)
	if m.Asked("/mirror/") != 2 { // the one that is not there is looked for in the archive
		t.Errorf("the mirror was asked %d times", m.Asked("/mirror/"))
	}
	m.emptyCache()
	m.Put("/debian"+path, append([]byte("x"), file[1:]...))
	code, _, log = m.buildHello()
	expect(t, "another file", code, 4, log, "package hello=1.0 is not the one that was pinned", "is wanted")
	m.emptyCache()
	code, _, log = m.buildHello("--offline")
	expect(t, "offline", code, 3, log, "hello_1.0", "--offline")
}

// TestSnapshot resolves in the archive as it was.
func TestSnapshot(t *testing.T) {
	m := newMarket(t)
	m.suite.Packages[0] = m.pkg("hello", "0.9", "", "usr/bin/hello")
	m.suite.Date, m.suite.ValidUntil = time.Now().AddDate(0, -2, 0), time.Now().AddDate(0, -1, 0)
	m.Publish(t, "/snapshot/debian/20260301T000000Z", m.suite)
	m.Publish(t, "/snapshot/debian/20260401T000000Z", m.suite)
	for _, at := range []string{"base", "20260401T000000Z"} {
		code, _, log := m.lockHello("--upgrade", "--snapshot", at)
		expect(t, at, code, 0, log)
		f, err := pins.Read(filepath.Join(m.dir, pins.Name))
		if err != nil {
			t.Fatal(err)
		}
		if p := f.Debian.Closures[0].Packages; len(p) != 1 || p[0].Version != "0.9" {
			t.Errorf("%s: %+v", at, p)
		}
		m.emptyCache()
		code, _, log = m.buildHello("--frozen-base")
		if at == "base" { // 0.9 was never in the archive itself
			m.Put("/debian/"+f.Debian.Closures[0].Packages[0].Path, nil)
		}
		expect(t, at, code, 0, log)
	}
	code, _, log := m.lockHello("--upgrade", "--snapshot", "yesterday")
	expect(t, "no time", code, 2, log, "neither")
}

// TestOtherBase uses a lock over a base with other packages than it was made for.
func TestOtherBase(t *testing.T) {
	m := newMarket(t)
	code, _, log := m.lockHello()
	expect(t, "lock", code, 0, log)
	asked := m.Asked("/dists/")
	const libc = "Package: libc6\nStatus: install ok installed\nArchitecture: " + runtime.GOARCH + "\nVersion: 2.41\n"
	m.base = m.baseWith(libc + "\nPackage: more\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
	code, _, log = m.buildHello()
	expect(t, "more packages, which do not matter", code, 0, log, "hello + 1")
	m.base = m.baseWith(libc + "\nPackage: libgreet\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n")
	code, _, log = m.buildHello()
	expect(t, "what was locked is there", code, 4, log, "libgreet is not needed", "jubako lock --upgrade")
	m.base = m.baseWith(libc + "\nPackage: old\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nBreaks: libgreet\n")
	code, _, log = m.buildHello()
	expect(t, "what was locked cannot be", code, 4, log, "old=1 breaks libgreet")
	if m.Asked("/dists/") != asked {
		t.Error("the archive was asked")
	}
}

// TestBadPackages asks for what cannot be, of archives that are not what they should be.
func TestBadPackages(t *testing.T) {
	const inRelease = "/debian/dists/trixie/InRelease"
	shared := newMarket(t) // of the cases that change nothing
	for name, tc := range map[string]struct {
		prepare func(*market)
		want    string // packages
		args    []string
		code    int
		said    []string
	}{
		"no such package": {nil, "helo", nil, 2, []string{"there is no package helo", `did you mean "hello"?`}},
		"no such version": {nil, "hello=2", nil, 2, []string{"there is no hello=2", "1.0 in trixie"}},
		"virtual":         {nil, "mta", nil, 2, []string{"mta is virtual: it is provided by exim, postfix"}},
		"conflict":        {nil, "victim", nil, 1, []string{"victim=1 needs foe=1: foe=1 conflicts with libc6, and so not with libc6=2.41, which the base has"}},
		"forged":          {func(m *market) { m.Put(inRelease, bytes.Replace(m.Get(inRelease), []byte("main"), []byte("evil"), 1)) }, "hello", nil, 4, []string{"trixie", "the text was changed after it was signed"}},
		"truncated":       {func(m *market) { m.Put(inRelease, m.Get(inRelease)[:200]) }, "hello", nil, 4, []string{"is cut"}},
		"expired":         {func(m *market) { m.suite.ValidUntil = time.Now().Add(-time.Minute); m.publish() }, "hello", nil, 4, []string{"it has expired"}},
		"signed by another": {func(m *market) {
			m.suite.Keys = []debtest.Key{debtest.NewKey(m.t, time.Now().AddDate(-1, 0, 0), 0)}
			m.publish()
		}, "hello", nil, 4, []string{"which is not known"}},
		"offline":            {nil, "hello", []string{"--offline"}, 3, []string{"--offline"}},
		"mirror of nothing":  {nil, "hello", []string{"--deb-mirror", "https://mirror.example/ubuntu"}, 2, []string{"stands in for none of the archives"}},
		"trusted by itself":  {nil, "hello", []string{"--set", `deb-sources=["deb [trusted=yes] http://127.0.0.1:1/debian trixie main"]`}, 3, []string{"connection refused"}},
		"nothing listens":    {nil, "hello", []string{"--deb-mirror", "http://127.0.0.1:1/debian"}, 3, []string{"connection refused"}},
		"no snapshot known":  {nil, "hello", []string{"--snapshot", "base", "--set", `deb-sources=["deb http://127.0.0.1:1/debian trixie main"]`}, 2, []string{"nothing says where snapshots"}},
		"another keyring":    {nil, "hello", []string{"--set", `deb-sources=["deb [signed-by=keys/none.pgp] http://127.0.0.1:1/debian trixie main"]`}, 2, []string{"keys/none.pgp"}},
		"older than the one": {nil, "libc6=1", nil, 2, []string{"there is no libc6=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := shared
			if tc.prepare != nil {
				m = newMarket(t)
				tc.prepare(m)
			}
			t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
			archive := filepath.Join(t.TempDir(), "app.tar")
			code, stdout, log := m.jubako(append([]string{"build", "--base", m.base, m.dir, "-o", "oci-archive:" + archive, "--set", fmt.Sprintf("packages=[%q]", tc.want)}, tc.args...)...)
			expect(t, name, code, tc.code, log, tc.said...)
			if _, err := os.Stat(archive); err == nil || stdout != "" {
				t.Errorf("an archive was left; %q", stdout)
			}
			if left, _ := filepath.Glob(filepath.Join(os.Getenv("JUBAKO_CACHE_DIR"), "tmp", "*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
