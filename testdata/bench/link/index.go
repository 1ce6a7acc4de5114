package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// index answers as the upstream index does, with the files' addresses led here, and keeps every answer.
type index struct {
	upstream, dir string
}

const simpleJSON = "application/vnd.pypi.simple.v1+json"

// mostAnswer bounds an answer of the index: its largest wheels are below it.
const mostAnswer = 4 << 30

func (ix *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := ix.answer(w, r); err != nil {
		fmt.Fprintf(os.Stderr, "link: %s: %v\n", r.URL, err)
		status := http.StatusBadGateway
		var s statusError
		if errors.As(err, &s) {
			status = int(s)
		}
		http.Error(w, err.Error(), status)
	}
}

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("the index answers %d", int(s)) }

func (ix *index) answer(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.EscapedPath()
	if file, ok := strings.CutPrefix(path, "/files/"); ok {
		kept, err := ix.keep("https://"+file, "")
		if err != nil {
			return err
		}
		http.ServeFile(w, r, kept)
		return nil
	}
	name, ok := strings.CutPrefix(path, "/simple/")
	if !ok {
		return statusError(http.StatusNotFound)
	}
	kept, err := ix.keep(ix.upstream+"/"+name, simpleJSON)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(kept)
	if err != nil {
		return err
	}
	b, err = ledHere(b, "http://"+r.Host+"/files/")
	if err != nil {
		return fmt.Errorf("reading the index's page of %s: %w", name, err)
	}
	w.Header().Set("Content-Type", simpleJSON)
	_, err = w.Write(b)
	return err
}

// ledHere rewrites the addresses in a project's page (PEP 691).
func ledHere(page []byte, prefix string) ([]byte, error) {
	var p map[string]any
	if err := json.Unmarshal(page, &p); err != nil {
		return nil, err
	}
	files, _ := p["files"].([]any)
	for _, f := range files {
		f, _ := f.(map[string]any)
		s, _ := f["url"].(string)
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" {
			return nil, fmt.Errorf("a file's address is %q: an absolute https URL is wanted", s)
		}
		f["url"] = prefix + u.Host + u.EscapedPath()
	}
	return json.Marshal(p)
}

// keep gives the file that holds what a URL has answered, fetched where it is not there yet.
func (ix *index) keep(address, accept string) (string, error) {
	sum := sha256.Sum256([]byte(address))
	kept := filepath.Join(ix.dir, hex.EncodeToString(sum[:16])+"-"+filepath.Base(strings.TrimSuffix(address, "/")))
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		return kept, err
	}
	q, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	if accept != "" {
		q.Header.Set("Accept", accept)
	}
	p, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", err
	}
	defer p.Body.Close()
	if p.StatusCode != http.StatusOK {
		return "", statusError(p.StatusCode)
	}
	f, err := os.CreateTemp(ix.dir, ".tmp-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if _, err := io.Copy(f, io.LimitReader(p.Body, mostAnswer)); err != nil {
		f.Close()
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return kept, os.Rename(f.Name(), kept)
}

// selfSigned makes a certificate for 127.0.0.1, for a day, and writes it where its trusting clients read it.
func selfSigned(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "benchmark on loopback"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if file != "" {
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
