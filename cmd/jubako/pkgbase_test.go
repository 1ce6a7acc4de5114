package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/deb/debtest"
)

// newPackageMarket is a market that has what a base of packages alone is made of.
func newPackageMarket(t *testing.T) (*market, []string) {
	python, err := fakePython()
	if err != nil {
		t.Fatal(err)
	}
	m := &market{world: newWorld(t), Archive: debtest.Serve(t), key: debtest.NewKey(t, time.Now().AddDate(-1, 0, 0), 0)}
	with := func(p debtest.Package, files map[string]string) debtest.Package {
		for name, data := range files {
			p.Files[name] = data
		}
		return p
	}
	m.suite = debtest.Suite{Name: "trixie", Arch: runtime.GOARCH, Date: time.Now().Add(-time.Hour), ByHash: true, Keys: []debtest.Key{m.key}, Packages: []debtest.Package{
		with(m.pkg("python3-minimal", "3.12.9-1", "Depends: libc6 (>= 2), dpkg (>= 1)", "usr/share/doc/python3-minimal/copyright"), map[string]string{
			"usr/bin/python3.12": string(python), "usr/bin/python3": "-> python3.12", "usr/include/python3.12/patchlevel.h": "#define PY_VERSION \"3.12.9\"\n"}),
		with(m.pkg("libc6", "2.41-1", "", "usr/share/doc/libc6/changelog"), map[string]string{"lib/libc.so.6": "GNU C Library stable release version 2.41, by many"}),
		with(m.pkg("base-files", "13", "Pre-Depends: awk", "usr/share/doc/base-files/copyright"), map[string]string{"etc/os-release": "ID=debian\nVERSION_CODENAME=trixie\n"}),
		m.pkg("libpython3-stdlib", "3.12.9-1", "", "usr/lib/python3.12/os.py"), m.pkg("ca-certificates", "1", "Depends: openssl", "usr/share/doc/ca-certificates/copyright"),
		m.pkg("tzdata", "1", "Depends: debconf", "usr/share/zoneinfo/UTC"), m.pkg("netbase", "1", "", "etc/services"), m.pkg("media-types", "1", "", "etc/mime.types"),
		m.pkg("libc-bin", "2.41-1", "Depends: libc6", "usr/lib/locale/C.utf8/LC_CTYPE"), m.pkg("hello", "1.0", "Depends: libc6", "usr/bin/hello"),
	}}
	m.publish()
	if err := os.WriteFile(filepath.Join(m.dir, "archive.pgp"), m.key.Ring(t, false), 0o644); err != nil {
		t.Fatal(err)
	}
	return m, []string{"--base", "debian:trixie", m.dir, "--set", `deb-sources=["deb [signed-by=archive.pgp] ` + m.Archive.URL + `/debian trixie main"]`,
		"--set", "staticfiles=false", "--set", `exclude=["jubako.lock","archive.pgp"]`}
}

// TestPackageBase: a base without any registry, which is the same from a lock, for every commit, and with packages on it.
func TestPackageBase(t *testing.T) {
	m, args := newPackageMarket(t)
	jubako := func(verb string, more ...string) (int, string, string) {
		return m.jubako(append(append([]string{verb}, args...), more...)...)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, first, log := jubako("build", "-o", "oci:"+out)
	expect(t, "build", code, 0, log, "packages     made     9 packages", "base         debian:trixie@sha256:", "Python 3.12.9, glibc 2.41")
	code, list, log := m.jubako("inspect", "oci:"+out, "--format", "json")
	expect(t, "inspect", code, 0, log)
	if !strings.Contains(list, "/app/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") || !strings.Contains(list, "LANG=C.UTF-8") {
		t.Error(list)
	}
	m.t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	code, _, log = jubako("build")
	expect(t, "another epoch", code, 0, log, "packages     reused   9 packages")
	m.t.Setenv("SOURCE_DATE_EPOCH", "")

	code, _, log = jubako("build", "--set", wantHello)
	expect(t, "with a package", code, 0, log, "debian       made     hello ")

	code, _, log = jubako("lock")
	expect(t, "lock", code, 0, log)
	if n := strings.Count(log, " packages     reused"); n != 1 {
		t.Errorf("lock opened its base, and told so, %d times:\n%s", n, log)
	}
	m.suite.Packages[4].Control = strings.Replace(m.suite.Packages[4].Control, "Version: 1\n", "Version: 2\n", 1)
	old := m.Get("/debian/pool/main/ca-certificates_1_" + runtime.GOARCH + ".deb")
	m.publish()
	if old != nil {
		m.Put("/debian/pool/main/ca-certificates_1_"+runtime.GOARCH+".deb", old)
	}
	code, again, log := jubako("build", "-o", "oci:"+out)
	expect(t, "with a lock", code, 0, log)
	if again != first {
		t.Errorf("%q was %q\n%s", again, first, log)
	}
	code, _, log = jubako("build", "--offline", "--frozen-base")
	expect(t, "offline", code, 0, log)
	code, _, log = jubako("lock", "--upgrade")
	expect(t, "upgrade", code, 0, log, "ca-certificates 2 was 1")
	code, newer, log := jubako("build", "-o", "oci:"+out)
	expect(t, "upgraded", code, 0, log)
	if newer == first {
		t.Error("the upgrade changes nothing")
	}
}

func TestPackageBaseRefused(t *testing.T) {
	m, args := newPackageMarket(t)
	m.suite.Packages = m.suite.Packages[1:]
	m.publish()
	code, _, log := m.jubako(append([]string{"build"}, args...)...)
	expect(t, "no python", code, 2, log, "making the base debian:trixie for linux/"+runtime.GOARCH, "python3-minimal")
	code, _, log = m.jubako("inspect", "debian:trixie")
	expect(t, "no image", code, 2, log, "debian:trixie means a base made of Debian packages", "library/debian:trixie")
	args[4] = `deb-sources=["deb [signed-by=archive.pgp] ` + m.Archive.URL + `/debian sid main"]`
	code, _, log = m.jubako(append([]string{"build"}, args...)...)
	expect(t, "no suite", code, 3, log, "making the base debian:trixie")
}
