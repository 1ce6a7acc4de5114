package cas

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestHashedOnce: what is verifying already is not hashed by another reader on top. A blob that this process has written is not
// hashed again, by another process once, and after that by nobody, as long as nothing fails.
func TestHashedOnce(t *testing.T) {
	v := Verify(io.NopCloser(strings.NewReader("hello")), "blob x", helloDigest, 5)
	if Verify(v, "blob y", helloDigest, 5) != v {
		t.Error("hashed twice")
	}
	if Verify(v, "blob y", helloDigest, 6) == v || Verify(v, "blob y", strings.Repeat("0", 64), 5) == v {
		t.Error("another digest and another size are others' to compare")
	}
	dir := t.TempDir()
	s := open(t, dir)
	if _, _, err := s.Put(strings.NewReader("hello"), ""); err != nil {
		t.Fatal(err)
	}
	hashes := func(s *Store) bool {
		t.Helper()
		r, err := s.Reader(helloDigest, 5)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got := Verify(r, "z", helloDigest, 5); got != io.ReadCloser(r) {
			t.Error("a reader of the store is hashed by another")
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
			t.Errorf("read %q, %v", b, err)
		}
		_, sound := r.(*File)
		return !sound
	}
	if again := hashes(s); hashes(s) || again {
		t.Error("it was hashed while it was written, and now again")
	}
	other := open(t, dir)
	if !hashes(other) || hashes(other) {
		t.Error("another process has to hash it, once")
	}
	third := open(t, dir)
	if hashes(third) {
		t.Error("it was hashed once it lay on the disk, and now again")
	}
	third.Doubt()
	if !hashes(third) || hashes(third) {
		t.Error("after a failure it has to be hashed, once")
	}
	third.Doubt() // of what it has hashed itself there is none
	if f, err := open(t, dir).Verified(helloDigest); err != nil || !f.Verifies(helloDigest, 5) || f.Close() != nil || hashes(open(t, dir)) {
		t.Errorf("Verified: %v", err)
	}
	old := time.Now().Add(-2 * usedLately)
	if err := os.Chtimes(s.BlobPath(helloDigest), old, old); err != nil {
		t.Fatal(err)
	}
	if !hashes(open(t, dir)) || hashes(open(t, dir)) {
		t.Error("what was touched has to be hashed, once")
	}
	fi, err := os.Stat(s.BlobPath(helloDigest))
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(fi.ModTime()) > usedLately {
		t.Errorf("its use was not noted: %v", fi.ModTime())
	}
	if _, err := s.Reader(strings.Repeat("0", 64), 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is not there gave %v", err)
	}
}

// TestReaderDiscards: what was changed since it was written is found out, although it was hashed before, and although it has
// the size and the time that it had.
func TestReaderDiscards(t *testing.T) {
	for name, damage := range map[string]string{"cut": "hel", "changed": "jello", "longer": "hello, you"} {
		for _, before := range []string{"written", "compared"} {
			t.Run(name+", "+before, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				if _, _, err := s.Put(strings.NewReader("hello"), ""); err != nil {
					t.Fatal(err)
				}
				if before == "compared" {
					f, err := open(t, dir).Verified(helloDigest)
					if err != nil || f.Close() != nil {
						t.Fatal(err)
					}
					s = open(t, dir)
				}
				fi, err := os.Stat(s.BlobPath(helloDigest))
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.WriteFile(s.BlobPath(helloDigest), []byte(damage), 0o644), os.Chtimes(s.BlobPath(helloDigest), fi.ModTime(), fi.ModTime())); err != nil {
					t.Fatal(err)
				}
				r, err := s.Reader(helloDigest, 5)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if b, err := io.ReadAll(r); !errors.Is(err, errDamaged) {
					t.Errorf("read %q, %v", b, err)
				}
				if s.Has(helloDigest, -1) {
					t.Error("the damaged blob is still there")
				}
			})
		}
	}
}

func TestTee(t *testing.T) {
	tee := func(s *Store, r io.Reader) io.ReadCloser {
		t.Helper()
		v, err := s.Tee(Verify(io.NopCloser(r), "blob x", helloDigest, 5).(Verifying), helloDigest)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := open(t, t.TempDir())
	k := tee(s, strings.NewReader("hello"))
	if _, err := io.ReadAll(k); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end once more, as decompressors ask: %v", err)
	}
	if err := k.Close(); err != nil || !s.Has(helloDigest, 5) {
		t.Errorf("the blob was not kept: %v", err)
	}
	for name, r := range map[string]io.Reader{"changed": strings.NewReader("jello"), "short": strings.NewReader("hell"), "cut": failing{strings.NewReader("hello")}} {
		s := open(t, t.TempDir())
		k := tee(s, r)
		if _, err := io.ReadAll(k); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := k.Close(); err != nil || s.Has(helloDigest, -1) {
			t.Errorf("%s: it was kept", name)
		}
		assertEmpty(t, s)
	}
	half := tee(s, strings.NewReader("hello"))
	if _, err := half.Read(make([]byte, 2)); err != nil || half.Close() != nil {
		t.Error(err)
	}
}
