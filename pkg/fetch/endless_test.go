package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"github.com/jubako/jubako/pkg/hint"
)

// TestEndless: however a server cuts its answers, there is an end to asking.
func TestEndless(t *testing.T) {
	const some = 500_000
	other := bytes.Repeat([]byte("another wheel now "), len(large)/18)
	cut := part(large, some, "")
	without := func(answer http.HandlerFunc) http.HandlerFunc { // ranges
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				cut(w, r)
			}
			answer(w, r)
		}
	}
	for what, tt := range map[string]struct {
		answer   http.HandlerFunc
		requests int
		kind     hint.Kind
	}{
		"another file in parts": {part(other, some, ""), 16, hint.KindCheck},
		"no range suits":        {without(status(http.StatusRequestedRangeNotSatisfiable)), attempts, hint.KindNetwork},
		"another range":         {without(status(http.StatusPartialContent, "Content-Range", "bytes 7-8/9")), attempts, hint.KindNetwork},
	} {
		t.Run(what, func(t *testing.T) {
			var srv *server
			srv = script(t, func(w http.ResponseWriter, r *http.Request) {
				if srv.count() > 100 {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				tt.answer(w, r)
			})
			f := newFixture(t, Options{})
			_, err := f.Fetch(t.Context(), Artifact{Filename: "a.whl", URL: srv.URL + "/a.whl", Hashes: one(sum(large))})
			if hint.KindOf(err) != tt.kind || hint.Of(err) == "" || srv.count() != tt.requests {
				t.Errorf("%d requests, %v", srv.count(), err)
			}
			if _, ok := errors.AsType[*HashError](err); ok != (tt.kind == hint.KindCheck) {
				t.Errorf("%#v", err)
			}
		})
	}
}
