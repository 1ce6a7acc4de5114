package debian

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/debfile/debfiletest"
)

func certificateOf(t *testing.T, n pkix.Name) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: n}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestSubjectHash holds the hash against the machine's openssl.
func TestSubjectHash(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	for _, n := range []pkix.Name{
		{CommonName: "Plain Root CA", Organization: []string{"Example"}, Country: []string{"DE"}},
		{CommonName: "  Two  Blanks\tand CAPITALS ", Organization: []string{"Größe & Söhne", "A"}, OrganizationalUnit: []string{"x", "y"}},
		{},
	} {
		data := certificateOf(t, n)
		file := filepath.Join(t.TempDir(), "c.pem")
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(openssl, "x509", "-in", file, "-noout", "-subject_hash").Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := subjectHash([]byte(data))
		if err != nil || got != strings.TrimSpace(string(out)) {
			t.Errorf("%s: %s, and openssl says %s: %v", n, got, out, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	a, b := certificateOf(t, pkix.Name{CommonName: "a"}), certificateOf(t, pkix.Name{CommonName: "b"})
	local := certificateOf(t, pkix.Name{CommonName: "local"})
	w := newWorld(t, map[string]string{
		"etc/ca-certificates.conf": "# by hand\nm/A (1), x.crt\n!m/Off.crt\nm/Gone.crt\n", "usr/local/share/ca-certificates/l.crt": local,
		"etc/ssl/certs/Gone.pem": "-> /usr/share/ca-certificates/m/Gone.crt", "etc/ssl/certs/12345678.0": "-> Gone.pem", "etc/ssl/certs/own.pem": "-> /root/own.pem",
	})
	w.add("ca-certificates 1", debfiletest.Deb{Members: map[string]string{"postinst": "#!/bin/sh\nupdate-ca-certificates\n"}, Entries: []entry{
		debfiletest.File("usr/share/ca-certificates/m/A (1), x.crt", strings.TrimSuffix(a, "\n")), debfiletest.File("usr/share/ca-certificates/m/Off.crt", b), debfiletest.File("usr/share/ca-certificates/m/New.crt", b),
	}})
	tree := w.tree()
	hash := func(data string) string {
		h, err := subjectHash([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	expect(t, tree, map[string]string{
		"etc/ssl/certs/ca-certificates.crt": a + b + local, "etc/ca-certificates.conf": "# by hand\nm/A (1), x.crt\n!m/Off.crt\nm/New.crt\n",
		"etc/ssl/certs/A_=1=__x.pem": "-> /usr/share/ca-certificates/m/A (1), x.crt", "etc/ssl/certs/New.pem": "-> /usr/share/ca-certificates/m/New.crt", "etc/ssl/certs/Off.pem": "absent",
		"etc/ssl/certs/l.pem": "-> /usr/local/share/ca-certificates/l.crt", "etc/ssl/certs/Gone.pem": "whiteout", "etc/ssl/certs/12345678.0": "whiteout", "etc/ssl/certs/own.pem": "absent",
		"etc/ssl/certs/" + hash(a) + ".0": "-> A_=1=__x.pem", "etc/ssl/certs/" + hash(local) + ".0": "-> l.pem",
	})
}
