package main

import (
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/base"
)

// freshMarket has a base of many files in the registry, and a project with a locked Debian package, of which nothing runs.
func freshMarket(t *testing.T) (m *market, flags []string) {
	t.Helper()
	m = newMarket(t)
	status := "Package: libc6\nStatus: install ok installed\nArchitecture: " + m.suite.Arch + "\nVersion: 2.41\n"
	m.base = m.baseWith(status, manyFiles()...)
	tag := m.inRegistry()
	code, _, log := m.lockHello()
	expect(t, "lock", code, 0, log)
	return m, []string{"-t", tag, "--push", "--set", wantHello, "--set", `exclude=["jubako.lock"]`}
}

// TestFreshMachineWithPackages: locked packages that have not changed are not fetched, and what they stand on is not read.
func TestFreshMachineWithPackages(t *testing.T) {
	m, flags := freshMarket(t)
	m.build(flags...)
	m.write("mysite/views.py", "x = 1\n")
	want, _ := m.build(append(flags, "-t", m.host()+"/other/site:1")...)
	fetched := m.Asked(".deb")
	got, log, pulled := m.fresh(flags...)
	if digest(got) != digest(want) || !strings.Contains(log, "debian       reused") {
		t.Errorf("the image is %s, want %s\n%s", got, want, log)
	}
	if t.Logf("%d bytes were pulled", pulled); pulled > mostPulled || m.Asked(".deb") != fetched {
		t.Errorf("%d bytes were pulled, and %d packages were fetched\n%s", pulled, m.Asked(".deb")-fetched, log)
	}
	m.write("mysite/views.py", "x = 2\n")
	if _, log, pulled = m.fresh(flags...); pulled > mostPulled || m.Asked(".deb") != fetched {
		t.Errorf("the next one pulled %d bytes and fetched %d packages\n%s", pulled, m.Asked(".deb")-fetched, log)
	}
	m.write("mysite/views.py", "x = 3\n")
	m.pulled.Store(0)
	if _, log = m.build(flags...); m.pulled.Load() > mostPulled || m.Asked(".deb") != fetched {
		t.Errorf("one line more, on the same machine, pulled %d bytes\n%s", m.pulled.Load(), log)
	}

	// Where the layer itself has gone, it is made, of the base and the packages.
	want, _ = m.build(append(flags, "-t", m.host()+"/other/site:1", "--set", `user="other"`)...)
	if got, log, _ = m.fresh("-t", m.host()+"/new/site:1", "--push", "--set", wantHello, "--set", `exclude=["jubako.lock"]`, "--set", `user="other"`); digest(got) != digest(want) {
		t.Errorf("the image is %s, want %s\n%s", got, want, log)
	}
}

// TestPackagesThatLie: what travels of Debian packages and does not fit is made anew.
func TestPackagesThatLie(t *testing.T) {
	for what, change := range map[string]func(m *market, name string, data []byte) []byte{
		"cut effects": func(_ *market, name string, data []byte) []byte {
			if strings.HasPrefix(name, "debian-") {
				return data[:len(data)/2]
			}
			return data
		},
		"other files": func(m *market, name string, data []byte) []byte {
			if strings.HasPrefix(name, "facts-") {
				return m.summary(func(_ *base.Image, f *base.Facts) { f.Files["etc/passwd"] = base.Stat{Kind: 1, Mode: 0o600} })
			}
			return data
		},
	} {
		t.Run(what, func(t *testing.T) {
			m, flags := freshMarket(t)
			m.write("mysite/views.py", "x = 1\n")
			want, _ := m.build(append(flags, "-t", m.host()+"/other/site:1")...)
			m.replaceAttached("team/site", "1", func(name string, data []byte) []byte { return change(m, name, data) })
			got, log, _ := m.fresh(flags...)
			if digest(got) != digest(want) || !strings.Contains(log, "is not used: ") && !strings.Contains(log, "it was read anew") {
				t.Errorf("the image is %s, want %s\n%s", got, want, log)
			}
		})
	}
}
