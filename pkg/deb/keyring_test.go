package deb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/debtest"
	"github.com/jubako/jubako/pkg/deb/keys"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

const signed = "Origin: Example\nSuite: stable\nCodename: trixie\nDate: Wed, 25 Nov 2026 11:00:00 UTC\nSHA256:\n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 main/binary-amd64/Packages\n"

// TestDebiansKeys reads the keyring that the program carries.
func TestDebiansKeys(t *testing.T) {
	var ring deb.Keyring
	if err := ring.Add(keys.Debian()); err != nil || ring.Len() != 9 {
		t.Errorf("%d keys, %v", ring.Len(), err)
	}
}

// TestFingerprints limits a keyring to some of its keys.
func TestFingerprints(t *testing.T) {
	key := debtest.NewKey(t, now.AddDate(-1, 0, 0), 0)
	text := debtest.SignInline(t, signed, now, key)
	var ring deb.Keyring
	if err := ring.Add(key.Ring(t, true)); err != nil {
		t.Fatal(err)
	}
	got, err := ring.VerifyInline(text, now)
	if err != nil || len(got.By) != 1 || strings.TrimRight(string(got.Text), "\n") != strings.TrimRight(signed, "\n") {
		t.Fatalf("%q by %v, %v", got.Text, got.By, err)
	}
	for _, only := range []string{got.By[0], got.By[0] + "!"} {
		ring.Only([]string{only})
		if _, err := ring.VerifyInline(text, now); err != nil {
			t.Errorf("limited to %s: %v", only, err)
		}
	}
	ring.Only([]string{"00" + got.By[0][2:]})
	if _, err := ring.VerifyInline(text, now); err == nil {
		t.Error("another fingerprint passed")
	}
	ring.Only(nil)
	if _, err := ring.VerifyInline(text, now.AddDate(-1, 0, -1)); err == nil {
		t.Error("a signature from the future passed")
	}
	detached := debtest.SignDetached(t, signed, now, key)
	if _, err := ring.VerifyDetached([]byte(signed), detached, now); err != nil {
		t.Error(err)
	}
	if _, err := ring.VerifyDetached([]byte(signed+" "), detached, now); err == nil {
		t.Error("another text passed")
	}
	if u := deb.Unverified(text); !strings.HasPrefix(string(u.Text), "Origin: Example\n") || len(u.By) != 0 {
		t.Errorf("%q", u.Text)
	}
}

// FuzzInRelease holds that nothing but the signed text is taken for signed, whatever is done to the file.
func FuzzInRelease(f *testing.F) {
	key := debtest.NewKey(f, now.AddDate(-1, 0, 0), 0)
	var ring deb.Keyring
	if err := ring.Add(key.Ring(f, false)); err != nil {
		f.Fatal(err)
	}
	f.Add(debtest.SignInline(f, signed, now, key))
	f.Add(debtest.SignDetached(f, signed, now, key))
	f.Add([]byte(signed))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := ring.VerifyInline(data, now); err == nil && strings.TrimRight(string(got.Text), "\n") != strings.TrimRight(signed, "\n") {
			t.Errorf("%q passes for signed", got.Text)
		}
		_, _ = ring.VerifyDetached([]byte(signed), data, now)
		if r, err := deb.ParseRelease(deb.Unverified(data).Text); err == nil {
			_ = r.Check("trixie", now, false)
			if ix, ok, err := r.Index("main", "amd64"); ok && err == nil {
				_ = ix.HashPath()
			}
		}
	})
}

// FuzzKeyring: any bytes are a keyring, or an error.
func FuzzKeyring(f *testing.F) {
	key := debtest.NewKey(f, now.AddDate(-1, 0, 0), 0)
	f.Add(key.Ring(f, false))
	f.Add(key.Ring(f, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ring deb.Keyring
		_ = ring.Add(data)
	})
}
