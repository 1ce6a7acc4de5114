package regclient

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/jubako/jubako/pkg/patience/patiencetest"
)

// expiring is a registry whose tokens and signed URLs hold until the answer that they were for is cut.
type expiring struct {
	content  []byte
	cut      int  // bytes of each answer, while cuts is not 0
	redirect bool // blobs are elsewhere, behind signed URLs
	refusal  int  // what the other place answers to an expired URL
	gone     bool // nothing is granted after the first cut

	mu     sync.Mutex
	cuts   int
	serial int
	ranges []string
}

func (e *expiring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch granted := fmt.Sprint("t", e.serial); {
	case r.URL.Path == "/token":
		_, _ = fmt.Fprintf(w, `{"token": %q}`, granted)
	case r.URL.Path == "/elsewhere" && r.URL.Query().Get("signature") != granted:
		w.WriteHeader(e.refusal)
	case r.URL.Path == "/elsewhere":
		e.serve(w, r)
	case r.Header.Get("Authorization") != "Bearer "+granted, e.gone && e.serial > 0:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	case e.redirect:
		http.Redirect(w, r, "/elsewhere?signature="+granted, http.StatusTemporaryRedirect)
	default:
		e.serve(w, r)
	}
}

func (e *expiring) serve(w http.ResponseWriter, r *http.Request) {
	e.ranges = append(e.ranges, r.Header.Get("Range"))
	w.Header().Set("Etag", `"1"`)
	if e.cuts == 0 {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(e.content))
		return
	}
	e.cuts--
	e.serial++
	http.ServeContent(&patiencetest.Cutter{ResponseWriter: w, Left: e.cut}, r, "", time.Time{}, bytes.NewReader(e.content))
}

// TestResumeOnceExpired: a blob of which the first part took longer than the token or the signed URL holds is gone on with.
func TestResumeOnceExpired(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	for what, e := range map[string]*expiring{
		"token":         {cuts: 1},
		"token, twice":  {cuts: 2},
		"URL":           {cuts: 1, redirect: true, refusal: http.StatusForbidden},
		"URL, twice":    {cuts: 2, redirect: true, refusal: http.StatusBadRequest},
		"for good":      {cuts: 1, gone: true},
		"URL, for good": {cuts: 1, gone: true, redirect: true, refusal: http.StatusForbidden},
	} {
		t.Run(what, func(t *testing.T) {
			e.content, e.cut = content, 30_000
			want := []string{"", "bytes=30000-", "bytes=60000-"}[:e.cuts+1]
			s := httptest.NewServer(e)
			defer s.Close()
			repo, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/team/app")
			if err != nil {
				t.Fatal(err)
			}
			var waits []time.Duration
			rt, err := transport.NewWithContext(t.Context(), repo.Registry, authn.Anonymous, patient(&waits).Transport, []string{repo.Scope(transport.PullScope)})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: rt}).Get(s.URL + "/v2/team/app/blobs/sha256:0")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if e.gone {
				if err == nil || !strings.Contains(err.Error(), "going on failed") {
					t.Errorf("%d bytes, %v", len(b), err)
				}
				waited := len(waits)
				if _, again := resp.Body.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() || len(waits) != waited {
					t.Errorf("reading on: %v after %d waits more", again, len(waits)-waited)
				}
				return
			}
			if err != nil || !bytes.Equal(b, content) || strings.Join(e.ranges, " ") != strings.Join(want, " ") {
				t.Errorf("%d bytes by %q, %v", len(b), e.ranges, err)
			}
		})
	}
}
