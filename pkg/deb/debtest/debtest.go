// Package debtest makes small Debian packages and signed archives of them, for tests.
package debtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key is a key that signs archives.
type Key struct{ *openpgp.Entity }

// NewKey makes a key that was made at a time and is valid for so long; for ever where that is 0.
func NewKey(t testing.TB, made time.Time, valid time.Duration) Key {
	t.Helper()
	e, err := openpgp.NewEntity("An Archive", "", "archive@archive.example", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return made }, KeyLifetimeSecs: uint32(valid / time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Key{e}
}

// Ring gives the public key as a keyring: in binary, or armored.
func (k Key) Ring(t testing.TB, armored bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if !armored {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = k.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// SignInline signs a text as InRelease is signed.
func SignInline(t testing.TB, text string, at time.Time, keys ...Key) []byte {
	t.Helper()
	var b bytes.Buffer
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&b, private, &packet.Config{Time: func() time.Time { return at }})
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// SignDetached signs a text as Release.gpg does.
func SignDetached(t testing.TB, text string, at time.Time, k Key) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, k.Entity, strings.NewReader(text), &packet.Config{Time: func() time.Time { return at }}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Deb makes a package of its control file and of files by their paths without leading slash; a content
// that begins with "-> " makes a link.
func Deb(t testing.TB, control string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	member := func(name string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(data))
		b.Write(data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	member("debian-binary", []byte("2.0\n"))
	member("control.tar.gz", tarball(t, map[string]string{"control": strings.TrimRight(control, "\n") + "\n"}))
	member("data.tar.gz", tarball(t, files))
	return b.Bytes()
}

func tarball(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	seen := map[string]bool{}
	dir := func(name string) {
		if !seen[name] {
			seen[name] = true
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir("./")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for i := range len(name) {
			if name[i] == '/' {
				dir("./" + name[:i+1])
			}
		}
		if to, ok := strings.CutPrefix(files[name], "-> "); ok {
			if err := w.WriteHeader(&tar.Header{Name: "./" + name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Suite is a suite in the making.
type Suite struct {
	Name       string // codename: "trixie"
	Arch       string // "amd64" where it is ""
	Date       time.Time
	ValidUntil time.Time // zero for none
	More       string    // further lines of the release
	Packages   []Package
	Keys       []Key
	// Detached has the signature beside the release, and no InRelease.
	Detached bool
	// ByHash has the lists under their hashes alone.
	ByHash bool
}

// Package is one of a suite's: its control file without Filename, Size and hash, and its files.
type Package struct {
	Control string
	Files   map[string]string
}

// Archive serves files of suites, and counts what is asked for. Files may be changed in between.
type Archive struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked map[string]int
}

// Serve starts an archive.
func Serve(t testing.TB) *Archive {
	a := &Archive{files: make(map[string][]byte), asked: make(map[string]int)}
	a.Server = httptest.NewServer(http.HandlerFunc(a.handle))
	t.Cleanup(a.Close)
	return a
}

func (a *Archive) handle(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked[r.URL.Path]++
	b, ok := a.files[r.URL.Path]
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(b))
	w.Header().Set("Etag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(b)
}

// Asked is how often paths that contain a text were asked for.
func (a *Archive) Asked(part string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for p, k := range a.asked {
		if strings.Contains(p, part) {
			n += k
		}
	}
	return n
}

// Put sets a file of the archive; nil removes it. The path begins with a slash.
func (a *Archive) Put(path string, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b == nil {
		delete(a.files, path)
		return
	}
	a.files[path] = b
}

// Get gives a file of the archive.
func (a *Archive) Get(path string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[path]
}

// Publish puts a suite into an archive below a path: "/debian".
func (a *Archive) Publish(t testing.TB, at string, s Suite) {
	t.Helper()
	if s.Arch == "" {
		s.Arch = "amd64"
	}
	var list strings.Builder
	for _, p := range s.Packages {
		file := Deb(t, p.Control, p.Files)
		path := "pool/main/" + field(p.Control, "Package") + "_" + strings.ReplaceAll(field(p.Control, "Version"), ":", "%") + "_" + field(p.Control, "Architecture") + ".deb"
		path = strings.ReplaceAll(path, "%", "_")
		a.Put(at+"/"+path, file)
		if field(p.Control, "Filename") == "" {
			p.Control = "Filename: " + path + "\n" + p.Control
		}
		fmt.Fprintf(&list, "%s\nSize: %d\nSHA256: %x\n\n", strings.TrimRight(p.Control, "\n"), len(file), sha256.Sum256(file))
	}
	plain := []byte(list.String())
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := "main/binary-" + s.Arch + "/"
	release := fmt.Sprintf("Origin: Example\nSuite: stable\nCodename: %s\nDate: %s\n", s.Name, s.Date.UTC().Format(time.RFC1123))
	if !s.ValidUntil.IsZero() {
		release += "Valid-Until: " + s.ValidUntil.UTC().Format(time.RFC1123) + "\n"
	}
	if s.ByHash {
		release += "Acquire-By-Hash: yes\n"
	}
	release += fmt.Sprintf("Architectures: all %s\nComponents: main\n%sSHA256:\n %x %d %sPackages\n %x %d %sPackages.gz\n", s.Arch, s.More,
		sha256.Sum256(plain), len(plain), dir, sha256.Sum256(z.Bytes()), z.Len(), dir)
	suite := at + "/dists/" + s.Name + "/"
	name := "Packages.gz"
	if s.ByHash {
		name = fmt.Sprintf("by-hash/SHA256/%x", sha256.Sum256(z.Bytes()))
	}
	a.Put(suite+dir+name, z.Bytes())
	if s.Detached {
		a.Put(suite+"Release", []byte(release))
		a.Put(suite+"Release.gpg", SignDetached(t, release, s.Date, s.Keys[0]))
		return
	}
	a.Put(suite+"InRelease", SignInline(t, release, s.Date, s.Keys...))
}

func field(control, name string) string {
	for line := range strings.Lines(control) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
