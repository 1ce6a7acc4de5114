package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
)

// guarded serves the file to one user, and refuses all others with a status.
func guarded(user, pass string, refusal int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != pass {
			status(refusal)(w, r)
			return
		}
		whole(large, "")(w, r)
	}
}

// keyring puts a program of that name first on the PATH, which notes what it is asked and answers for one user.
func keyring(t *testing.T) (asked func() string) {
	t.Helper()
	dir := t.TempDir()
	program := `#!/bin/sh
echo "$@" >>` + dir + `/asked
case "$*" in
"--mode creds get "*) printf 'kr\nfrom keyring\n' ;;
"get "*" kr") echo 'from keyring' ;;
*) exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "keyring"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		b, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestAuthentication(t *testing.T) {
	asked := keyring(t)
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login net password rc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(pairs ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(pairs); i += 2 {
				if k == "UV_INDEX_CORP_"+pairs[i] {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	tests := []struct {
		name     string
		userinfo string // of the artifact's URL
		index    string // the index's userinfo and path
		policy   Policy
		env      func(string) string
		netrc    bool
		keyring  bool
		want     http.HandlerFunc
		requests int // for two files
	}{
		{"in the URL", "u:p@", "", Auto, nil, true, false, guarded("u", "p", 401), 2},
		{"the index's", "", "i:x@/simple", Auto, nil, true, false, guarded("i", "x", 401), 2},
		{"the environment's beat the index's", "", "i:x@/simple", Auto, env("USERNAME", "e", "PASSWORD", "p"), true, false, guarded("e", "p", 401), 2},
		{"the environment's password for the index's user", "", "i@/simple", Auto, env("PASSWORD", "p"), true, false, guarded("i", "p", 401), 2},
		{"the realm's, when asked, and then at once", "", "i:x@/team/simple", Auto, nil, true, false, guarded("i", "x", 401), 3},
		{"netrc's, when asked", "", "", Auto, nil, true, false, guarded("net", "rc", 401), 3},
		{"netrc's, where the file is said not to be", "", "", Auto, nil, true, false, guarded("net", "rc", 404), 3},
		{"netrc's, at once", "", "/simple", Always, nil, true, false, guarded("net", "rc", 401), 2},
		{"netrc's, for a user without a password", "net@", "", Auto, nil, true, false, guarded("net", "rc", 401), 2},
		{"a token without a password", "token@", "", Auto, nil, false, false, guarded("token", "", 401), 2},
		{"keyring's", "", "", Auto, nil, false, true, guarded("kr", "from keyring", 403), 3},
		{"keyring's, for a user without a password", "", "kr@/simple", Auto, nil, false, true, guarded("kr", "from keyring", 401), 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := script(t, test.want)
			c := &Credentials{Getenv: test.env, Keyring: test.keyring}
			if test.netrc {
				c.Netrc = netrc
			}
			if test.index != "" {
				user, path, found := strings.Cut(test.index, "/")
				if !found {
					t.Fatal("the index has no path")
				}
				c.Indexes = []Index{{Name: "corp", URL: strings.Replace(srv.URL, "http://", "http://"+user, 1) + "/" + path, Policy: test.policy}}
			}
			f := newFixture(t, Options{Credentials: c})
			for _, name := range []string{"a.whl", "b.whl"} {
				b, err := f.Fetch(t.Context(), Artifact{Filename: name, URL: strings.Replace(srv.URL, "http://", "http://"+test.userinfo, 1) + "/" + name})
				if err != nil {
					t.Fatal(err)
				}
				if b.SHA256 != sum(large).Hex {
					t.Errorf("%s is another file", name)
				}
			}
			if srv.count() != test.requests {
				t.Errorf("%d requests, want %d", srv.count(), test.requests)
			}
		})
	}
	if got := strings.Count(asked(), "\n"); got != 2 {
		t.Errorf("keyring was asked %d times, want once for each index:\n%s", got, asked())
	}
}

func TestNoCredentials(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("default login net password rc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := script(t, status(401))
	a := Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))}

	f := newFixture(t, Options{Credentials: &Credentials{Netrc: netrc, Indexes: []Index{{Name: "my.idx", URL: srv.URL + "/simple", Policy: Never}}}})
	_, err := f.Fetch(t.Context(), a)
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Code != 401 || !strings.Contains(hint.Of(err), "UV_INDEX_MY_IDX_USERNAME") {
		t.Errorf("never: %v (hint: %s)", err, hint.Of(err))
	}
	if srv.count() != 1 || srv.header(0, "Authorization") != "" {
		t.Errorf("never: %d requests, the first with %q", srv.count(), srv.header(0, "Authorization"))
	}

	f = newFixture(t, Options{Credentials: &Credentials{Indexes: []Index{{URL: srv.URL + "/simple", Policy: Always}}}})
	if _, err := f.Fetch(t.Context(), a); hint.KindOf(err) != hint.KindUsage || srv.count() != 1 {
		t.Errorf("always: %v after %d requests", err, srv.count()-1)
	}

	if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, Options{Credentials: &Credentials{Netrc: netrc}})
	if _, err := f.Fetch(t.Context(), a); err == nil || !strings.Contains(err.Error(), netrc+": line 1") || len(f.waits) > 0 {
		t.Errorf("a broken netrc: %v after waiting %v", err, f.waits)
	}
}

// TestRedirects: credentials stay with their origin, and a signature in a redirect's target is nowhere shown.
func TestRedirects(t *testing.T) {
	cut := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	store := script(t, cut, cut, whole(large, ""))
	to := func(where string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				http.Redirect(w, r, where, http.StatusTemporaryRedirect)
				return
			}
			http.Redirect(w, r, "/moved", http.StatusFound)
		}
	}
	srv := script(t, to(store.URL+"/x?X-Amz-Signature=secret"))
	f := newFixture(t, Options{Credentials: &Credentials{Indexes: []Index{{URL: strings.Replace(srv.URL, "http://", "http://u:p@", 1)}}}})
	f.mustFetch(t, Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))}, large)
	var seen []string
	for i := range srv.count() {
		seen = append(seen, srv.header(i, "Authorization"))
	}
	for i := range store.count() {
		seen = append(seen, store.header(i, "Authorization"))
	}
	const own = "Basic dTpw"
	if d := cmp.Diff([]string{own, own, own, own, own, own, "", "", ""}, seen); d != "" {
		t.Errorf("Authorization (-want +got)\n%s", d)
	}
	if log := fmt.Sprint(f.log); len(f.log) != 2 || strings.Contains(log, "secret") {
		t.Errorf("log: %s", log)
	}

	loop := script(t, to("/moved"))
	if _, err := newFixture(t, Options{}).Fetch(t.Context(), Artifact{Filename: "a.whl", URL: loop.URL + "/a.whl"}); err == nil ||
		!strings.Contains(err.Error(), "more than 10 redirects") || loop.count() != 1+maxRedirects {
		t.Errorf("a loop: %v after %d requests", err, loop.count())
	}
}
