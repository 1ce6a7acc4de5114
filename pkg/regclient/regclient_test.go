package regclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience/patiencetest"
)

func config(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestKeychain(t *testing.T) {
	// YTpi is a:b, YzpkOmU= is c:d:e.
	file := config(t, `{"auths":{"reg.example/team/app":{"auth":"YTpi"},"reg.example":{"auth":"YzpkOmU="},"only.example/x":{"auth":"YTpi"},"empty.example":{}}}`)
	second := config(t, `{"auths":{"empty.example":{"username":"u","password":"p"},"reg.example":{"username":"late","password":"p"}}}`)
	k := New(Options{ConfigFiles: []string{"/nowhere", file, second}}).Keychain()
	for repo, want := range map[string]string{
		"reg.example/team/app":   "a:b",
		"reg.example/team/other": "c:d:e",
		"only.example/x/y":       "a:b",
		"only.example/other":     ":",
		"empty.example/z":        "u:p",
		"none.example/z":         ":",
	} {
		r, err := name.NewRepository(repo)
		if err != nil {
			t.Fatal(err)
		}
		a, err := k.Resolve(r)
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Authorization()
		if err != nil || c.Username+":"+c.Password != want {
			t.Errorf("%s: %s:%s, %v, want %s", repo, c.Username, c.Password, err, want)
		}
	}
}

func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nread server\n[ \"$server\" = reg.example ] || { echo 'credentials not found in native keychain'; exit 1; }\necho '{\"Username\":\"h\",\"Secret\":\"s\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-fake"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	k := New(Options{ConfigFiles: []string{config(t, `{"credsStore":"fake"}`)}}).Keychain()
	for repo, want := range map[string]string{"reg.example/x": "h", "other.example/x": ""} {
		r, _ := name.NewRepository(repo)
		a, err := k.Resolve(r)
		if err != nil {
			t.Fatal(err)
		}
		if c, _ := a.Authorization(); c.Username != want {
			t.Errorf("%s: %q", repo, c.Username)
		}
	}
}

func TestLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "config.json")
	ctx := context.Background()
	if err := Login(ctx, file, "reg.example", "u", "p"); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	file = config(t, `{"HttpHeaders":{"X":"y"},"auths":{"other.example":{"auth":"YTpi"}}}`)
	if err := Login(ctx, file, "reg.example", "u", "p"); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(file)
	for _, kept := range []string{`"X"`, "other.example", `"dTpw"`} {
		if !strings.Contains(string(b), kept) {
			t.Errorf("%s lacks %s", b, kept)
		}
	}
	if err := Logout(ctx, file, "reg.example"); err != nil {
		t.Fatal(err)
	}
	if b, _ = os.ReadFile(file); strings.Contains(string(b), "reg.example") || !strings.Contains(string(b), "other.example") {
		t.Errorf("after logout: %s", b)
	}
	if err := Logout(ctx, file, "reg.example"); !errors.Is(err, ErrNotLoggedIn) {
		t.Errorf("a second logout: %v", err)
	}
	if err := Login(ctx, config(t, "not json"), "reg.example", "u", "p"); hint.KindOf(err) != hint.KindUsage {
		t.Errorf("a broken file: %v", err)
	}
}

// patient makes a client that waits for nobody and notes the waits.
func patient(waits *[]time.Duration) *http.Client {
	return &http.Client{Transport: New(Options{Sleep: func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}}).Transport()}
}

func TestRetries(t *testing.T) {
	var waits []time.Duration
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n++; n {
		case 1:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		case 2:
			w.WriteHeader(503)
		default:
			_, _ = w.Write([]byte("ok"))
		}
	}))
	defer s.Close()
	resp, err := patient(&waits).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "ok" || len(waits) != 2 || waits[0] != 7*time.Second {
		t.Errorf("%s after %v", b, waits)
	}
	// A wait beyond patience is not begun, and a body that cannot be rewound is sent once.
	n, waits = 0, nil
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(503)
	}))
	defer busy.Close()
	if resp, err := patient(&waits).Get(busy.URL); err != nil || resp.StatusCode != 503 || n != 1 {
		t.Errorf("%v after %d requests", err, n)
	}
	n = 0
	if resp, err := patient(&waits).Post(busy.URL, "x", io.MultiReader(strings.NewReader("x"))); err != nil || resp.StatusCode != 503 || n != 1 {
		t.Errorf("%v after %d requests", err, n)
	}
}

func TestCutDownloadIsResumed(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	cuts := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cuts++; cuts <= 2 {
			http.ServeContent(&patiencetest.Cutter{ResponseWriter: w, Left: 30_000}, r, "", time.Time{}, bytes.NewReader(content))
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer s.Close()
	var waits []time.Duration
	resp, err := patient(&waits).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, content) || cuts != 3 {
		t.Errorf("%d bytes in %d requests, %v", len(b), cuts, err)
	}
}

func TestReferences(t *testing.T) {
	c := New(Options{PlainHTTP: []string{"plain.example"}, Mirrors: map[string]string{"reg.example": "mirror.example:5000/hub"}})
	for s, scheme := range map[string]string{"localhost:5000/x": "http", "127.0.0.1:5000/x:1": "http", "plain.example/x": "http", "reg.example/x": "https", "python:3.12-slim": "https"} {
		ref, err := c.Reference(s)
		if err != nil || ref.Context().Registry.Scheme() != scheme {
			t.Errorf("%s: %v, %v", s, ref, err)
		}
	}
	ref, _ := c.Reference("reg.example/team/app:1")
	if m, ok := c.Mirror(ref); !ok || m.String() != "mirror.example:5000/hub/team/app:1" {
		t.Errorf("mirror: %v", m)
	}
	if _, err := c.Reference("UPPER/case"); hint.KindOf(err) != hint.KindUsage || hint.Of(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	for status, want := range map[int]string{401: "jubako login", 403: "rights", 404: "repository's name", 429: "mirror", 502: "fault of its own"} {
		err := Explain(&transport.Error{StatusCode: status}, "pulling x")
		if hint.KindOf(err) != hint.KindNetwork || !strings.Contains(hint.Of(err), want) || !strings.HasPrefix(err.Error(), "pulling x: ") {
			t.Errorf("%d: %v (%s)", status, err, hint.Of(err))
		}
	}
	_, err := http.Get("http://user:hunter2@127.0.0.1:1/v2/?token=hunter2")
	if got := Explain(err, "pulling x"); strings.Contains(got.Error(), "hunter2") || hint.Of(got) == "" {
		t.Errorf("%v (%s)", got, hint.Of(got))
	}
	repo, rerr := name.NewRepository("reg.example/x")
	if rerr != nil {
		t.Fatal(rerr)
	}
	for _, broken := range []string{"not json", `{"auths":{"reg.example":{"auth":"YQ=="}}}`} { // YQ== is a
		_, err := New(Options{ConfigFiles: []string{config(t, broken)}}).Keychain().Resolve(repo)
		if got := Explain(err, "pulling x"); hint.KindOf(got) != hint.KindUsage || !strings.HasPrefix(got.Error(), "pulling x: ") {
			t.Errorf("credentials that cannot be read: %v of kind %d", got, hint.KindOf(got))
		}
	}
	if Explain(nil, "x") != nil || !errors.Is(Explain(context.Canceled, "x"), context.Canceled) {
		t.Error("nothing to explain, and explained")
	}
}

// FuzzConfigFile: any file of credentials is read or refused.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte(`{"auths":{"reg.example":{"auth":"YTpi"},"x":null},"credHelpers":{"y":""}}`))
	r, err := name.NewRepository("reg.example/team/app")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cf, err := parseConfigFile(b)
		if err != nil || cf.CredsStore != "" || len(cf.CredHelpers) > 0 {
			return // no program is run here
		}
		_, _ = cf.find(context.Background(), authn.Resource(r))
	})
}

// TestPing: what a registry says of itself is asked once, by however many; a fault is not remembered.
func TestPing(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 2 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer s.Close()
	c := New(Options{})
	reg, err := name.NewRegistry(strings.TrimPrefix(s.URL, "http://"), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.Ping(context.Background(), reg, c.Transport()); err == nil {
		t.Error("403 is no answer")
	}
	asked.Store(2)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			got, err := transport.Ping(context.Background(), reg, c.Transport())
			if err != nil || got.Scheme != "basic" && got.Scheme != "Basic" || !got.Insecure {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times in all, want 3", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	other, err := name.NewRegistry("127.0.0.1:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.Ping(ctx, other, c.Transport()); err == nil {
		t.Error("nothing listens there")
	}
}

// TestPingWithoutTLS: a registry that may be without TLS, and is, is not tried with it.
func TestPingWithoutTLS(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := New(Options{})
	reg, err := name.NewRegistry(strings.TrimPrefix(s.URL, "http://"), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := transport.Ping(context.Background(), reg, c.Transport()); err != nil || !got.Insecure {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestPingWithTLS: a registry that may be without TLS, and is not, is spoken to with it, whatever it makes of a request without.
func TestPingWithTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	defer s.Close()
	abrupt := httptest.NewUnstartedServer(s.Config.Handler)
	abrupt.TLS = s.TLS
	abrupt.Listener = closing{abrupt.Listener}
	abrupt.StartTLS()
	defer abrupt.Close()
	for _, server := range []*httptest.Server{s, abrupt} {
		c := New(Options{Base: server.Client().Transport, Sleep: func(context.Context, time.Duration) error { return errors.New("no patience") }})
		reg, err := name.NewRegistry(server.Listener.Addr().String(), name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := transport.Ping(context.Background(), reg, c.Transport()); err != nil || got.Insecure {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// closing ends each connection that begins with a request without TLS, and says nothing.
type closing struct{ net.Listener }

func (c closing) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil || first[0] == 'G' {
		return conn, conn.Close()
	}
	return begun{conn, io.MultiReader(bytes.NewReader(first), conn)}, nil
}

// begun is a connection of which something was read.
type begun struct {
	net.Conn
	r io.Reader
}

func (b begun) Read(p []byte) (int, error) { return b.r.Read(p) }
