package archive_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/archive"
	"github.com/jubako/jubako/pkg/deb/debtest"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/hint"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

const hello = "Package: hello\nVersion: 1.0\nArchitecture: amd64\nDepends: libx (>= 2)\nDescription: greets\n"

type bench struct {
	*debtest.Archive
	client *archive.Client
	key    debtest.Key
	src    deb.Source
	trust  archive.Trust
}

// newBench publishes one suite, and makes a client for it.
func newBench(t *testing.T, change func(*debtest.Suite)) *bench {
	t.Helper()
	store := castest.Open(t)
	b := &bench{Archive: debtest.Serve(t), key: debtest.NewKey(t, now.AddDate(-1, 0, 0), 0)}
	b.client = &archive.Client{Fetch: b.fetch(store, false), Now: func() time.Time { return now }}
	s := debtest.Suite{Name: "trixie", Date: now.Add(-time.Hour), Packages: []debtest.Package{{Control: hello}}, Keys: []debtest.Key{b.key}}
	if change != nil {
		change(&s)
	}
	b.Publish(t, "/debian", s)
	b.src = deb.Source{URI: b.URL + "/debian", Suite: "trixie", Components: []string{"main"}}
	b.trust = archive.Trust{Keys: map[string][]byte{"ring": b.key.Ring(t, false)}}
	return b
}

func (b *bench) fetch(store *cas.Store, offline bool) *fetch.Client {
	return fetch.New(fetch.Options{Store: store, Offline: offline, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
}

func (b *bench) list() (deb.List, *archive.Suite, error) {
	s, err := b.client.Open(context.Background(), b.src, b.trust)
	if err != nil {
		return deb.List{}, nil, err
	}
	l, err := b.client.List(context.Background(), s, "amd64", 0)
	return l, s, err
}

func TestList(t *testing.T) {
	for name, change := range map[string]func(*debtest.Suite){
		"inline":   nil,
		"by hash":  func(s *debtest.Suite) { s.ByHash = true },
		"detached": func(s *debtest.Suite) { s.Detached = true },
		"more keys": func(s *debtest.Suite) {
			s.Keys = append([]debtest.Key{debtest.NewKey(t, now.AddDate(-1, 0, 0), 0)}, s.Keys...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change)
			for range 2 {
				l, s, err := b.list()
				if err != nil {
					t.Fatal(err)
				}
				if len(l.Catalogues) != 1 || l.Catalogues[0].Package(0).Name != "hello" || l.Catalogues[0].Package(0).Depends != "libx (>= 2)" || len(s.SignedBy) != 1 || len(s.SHA256) != 64 {
					t.Errorf("%+v, %+v", l, s)
				}
			}
			if n := b.Asked("binary-amd64"); n != 1 {
				t.Errorf("the list was fetched %d times", n)
			}
		})
	}
}

// TestArmoredRing reads a keyring of another form.
func TestArmoredRing(t *testing.T) {
	b := newBench(t, nil)
	other := debtest.NewKey(t, now.AddDate(-1, 0, 0), 0)
	b.trust.Keys = map[string][]byte{"both": append(other.Ring(t, true), append([]byte("\n"), b.key.Ring(t, true)...)...)}
	if _, _, err := b.list(); err != nil {
		t.Error(err)
	}
}

// TestOffline takes what was there last.
func TestOffline(t *testing.T) {
	b := newBench(t, nil)
	store := castest.Open(t)
	b.client.Fetch = b.fetch(store, true)
	if _, _, err := b.list(); hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("nothing is there: %v", err)
	}
	b.client.Fetch = b.fetch(store, false)
	if _, _, err := b.list(); err != nil {
		t.Fatal(err)
	}
	b.client.Fetch = b.fetch(store, true)
	before := b.Asked("")
	if l, _, err := b.list(); err != nil || len(l.Catalogues) != 1 || l.Catalogues[0].Len() != 1 || b.Asked("") != before {
		t.Errorf("%v, %v", l, err)
	}
}

const inRelease, packages = "/debian/dists/trixie/InRelease", "/debian/dists/trixie/main/binary-amd64/Packages.gz"

// TestRefused damages what an archive serves.
func TestRefused(t *testing.T) {
	replace := func(old, new string) func(*testing.T, *bench) {
		return func(t *testing.T, b *bench) {
			was := b.Get(inRelease)
			is := bytes.Replace(was, []byte(old), []byte(new), 1)
			if bytes.Equal(was, is) {
				t.Fatalf("%q is not there", old)
			}
			b.Put(inRelease, is)
		}
	}
	for name, tc := range map[string]struct {
		suite func(*testing.T, *debtest.Suite)
		after func(*testing.T, *bench)
		kind  hint.Kind
		want  string
	}{
		"a tampered byte":      {nil, replace("Origin: Example", "Origin: example"), hint.KindCheck, "is wrong: the text was changed"},
		"text behind":          {nil, func(_ *testing.T, b *bench) { b.Put(inRelease, append(b.Get(inRelease), "Suite: x\n"...)) }, hint.KindCheck, "behind the signature"},
		"text before":          {nil, func(_ *testing.T, b *bench) { b.Put(inRelease, append([]byte("Suite: x\n"), b.Get(inRelease)...)) }, hint.KindCheck, "does not begin with"},
		"truncated":            {nil, func(_ *testing.T, b *bench) { b.Put(inRelease, b.Get(inRelease)[:300]) }, hint.KindCheck, "is cut"},
		"cut in its signature": {nil, func(_ *testing.T, b *bench) { f := b.Get(inRelease); b.Put(inRelease, f[:len(f)-80]) }, hint.KindCheck, "cut"},
		"not signed":           {nil, func(_ *testing.T, b *bench) { b.Put(inRelease, []byte("Suite: trixie\n")) }, hint.KindCheck, "does not begin with"},
		"no signature at all":  {func(_ *testing.T, s *debtest.Suite) { s.Detached = true }, func(_ *testing.T, b *bench) { b.Put("/debian/dists/trixie/Release.gpg", nil) }, hint.KindCheck, "not signed"},
		"another release's":    {func(_ *testing.T, s *debtest.Suite) { s.Detached = true }, func(_ *testing.T, b *bench) { b.Put("/debian/dists/trixie/Release", []byte("Suite: x\n")) }, hint.KindCheck, "is wrong"},
		"an unknown key": {func(t *testing.T, s *debtest.Suite) {
			s.Keys = []debtest.Key{debtest.NewKey(t, now.AddDate(-1, 0, 0), 0)}
		}, nil, hint.KindCheck, "which is not known"},
		"from the future": {func(_ *testing.T, s *debtest.Suite) { s.Date = now.Add(25 * time.Hour) }, nil, hint.KindCheck, "future"},
		"expired":         {func(_ *testing.T, s *debtest.Suite) { s.ValidUntil = now.Add(-time.Second) }, nil, hint.KindCheck, "it has expired"},
		"another suite": {nil, func(_ *testing.T, b *bench) {
			b.Put("/debian/dists/sid/InRelease", b.Get(inRelease))
			b.src.Suite = "sid"
		}, hint.KindCheck, "it is the release of trixie"},
		"no such suite": {nil, func(_ *testing.T, b *bench) { b.src.Suite = "warty" }, hint.KindNetwork, "404"},
		"a list that is another": {nil, func(_ *testing.T, b *bench) {
			b.Put(packages, append([]byte{}, bytes.Repeat([]byte{0}, len(b.Get(packages)))...))
		}, hint.KindCheck, "not the file that the release names"},
		"a list that is longer":  {nil, func(_ *testing.T, b *bench) { b.Put(packages, append(b.Get(packages), make([]byte, 1<<20)...)) }, hint.KindCheck, "not the file that the release names"},
		"a list that is shorter": {nil, func(_ *testing.T, b *bench) { b.Put(packages, b.Get(packages)[:10]) }, hint.KindCheck, "not the file that the release names"},
		"a list that is missing": {nil, func(_ *testing.T, b *bench) { b.Put(packages, nil) }, hint.KindNetwork, "404"},
		"no key":                 {nil, func(_ *testing.T, b *bench) { b.trust.Keys = nil }, hint.KindUsage, "no key to verify"},
		"a keyring that is none": {nil, func(_ *testing.T, b *bench) { b.trust.Keys = map[string][]byte{"ring": []byte("nonsense")} }, hint.KindUsage, "the keyring ring"},
		"trusted by the base":    {nil, func(_ *testing.T, b *bench) { b.src.Trusted = true }, hint.KindUsage, "[trusted=yes]"},
		"other fingerprints":     {nil, func(_ *testing.T, b *bench) { b.src.SignedBy.Fingerprints = []string{strings.Repeat("A", 40)} }, hint.KindCheck, "which is not known"},
		"a path that leads out": {func(_ *testing.T, s *debtest.Suite) {
			s.Packages[0].Control = strings.Replace(hello, "Description", "Filename: ../x.deb\nDescription", 1)
		}, nil, hint.KindBuild, "does not lie in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(s *debtest.Suite) {
				if tc.suite != nil {
					tc.suite(t, s)
				}
			})
			if tc.after != nil {
				tc.after(t, b)
			}
			_, _, err := b.list()
			if err == nil || !strings.Contains(err.Error(), tc.want) || hint.KindOf(err) != tc.kind || !strings.Contains(err.Error(), b.src.Suite) && tc.kind != hint.KindBuild {
				t.Errorf("%v (kind %d), want %q (kind %d)", err, hint.KindOf(err), tc.want, tc.kind)
			}
		})
	}
}

// TestExpiredKey refuses a key that was good when it signed.
func TestExpiredKey(t *testing.T) {
	old := debtest.NewKey(t, now.AddDate(-2, 0, 0), 365*24*time.Hour)
	b := newBench(t, func(s *debtest.Suite) { s.Keys, s.Date = []debtest.Key{old}, now.AddDate(-1, -6, 0) })
	b.trust.Keys = map[string][]byte{"ring": old.Ring(t, false)}
	if _, _, err := b.list(); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Error(err)
	}
}

// TestRenewedKey takes a key of which some keyring has a copy that has expired, and refuses one that some keyring says to be revoked.
func TestRenewedKey(t *testing.T) {
	key := debtest.NewKey(t, now.AddDate(-2, 0, 0), 365*24*time.Hour)
	expired := key.Ring(t, false)
	for _, id := range key.Identities {
		id.SelfSignature.KeyLifetimeSecs, id.SelfSignature.CreationTime = nil, now.AddDate(0, -1, 0)
		if err := id.SelfSignature.SignUserId(id.UserId.Id, key.PrimaryKey, key.PrivateKey, nil); err != nil {
			t.Fatal(err)
		}
	}
	renewed := key.Ring(t, false)
	if err := key.RevokeKey(packet.KeyRetired, "", &packet.Config{Time: func() time.Time { return now.Add(-time.Hour) }}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(s *debtest.Suite) { s.Keys = []debtest.Key{key} })
	for i, rings := range [][2][]byte{{expired, renewed}, {renewed, expired}} {
		b.trust.Keys = map[string][]byte{"a": rings[0], "b": rings[1]}
		if _, s, err := b.list(); err != nil || len(s.SignedBy) != 1 {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, rings := range [][2][]byte{{renewed, key.Ring(t, false)}, {key.Ring(t, false), renewed}} {
		b.trust.Keys = map[string][]byte{"a": rings[0], "b": rings[1]}
		if _, _, err := b.list(); hint.KindOf(err) != hint.KindCheck || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("revoked, %d: %v", i, err)
		}
	}
	b.trust.Keys = map[string][]byte{"a": expired, "b": renewed}
	b.Put(inRelease, bytes.Replace(b.Get(inRelease), []byte("Origin: Example"), []byte("Origin: example"), 1))
	if _, _, err := b.list(); hint.KindOf(err) != hint.KindCheck || !strings.Contains(err.Error(), "is wrong") {
		t.Errorf("a changed text: %v", err)
	}
}

// TestPinned takes an old release on purpose, and an unsigned one where the user has said so.
func TestPinned(t *testing.T) {
	b := newBench(t, func(s *debtest.Suite) { s.ValidUntil = now.Add(-time.Hour) })
	b.trust.Pinned = true
	if _, _, err := b.list(); err != nil {
		t.Errorf("a snapshot's release: %v", err)
	}
	b = newBench(t, func(s *debtest.Suite) { s.Keys = []debtest.Key{debtest.NewKey(t, now, 0)} })
	b.src.Trusted, b.trust.Unsigned = true, true
	if _, s, err := b.list(); err != nil || len(s.SignedBy) != 0 {
		t.Errorf("trusted by the user: %v", err)
	}
}
