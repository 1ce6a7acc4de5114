package base

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/patience/patiencetest"
	"github.com/jubako/jubako/pkg/regclient"
)

// TestLayerCutAndTokenExpired: the rest of a layer comes with a new token, and its bytes are compared as if it had come in one piece.
func TestLayerCutAndTokenExpired(t *testing.T) {
	img := image(t, "amd64")
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := m.Layers[0].Digest
	for what, garbled := range map[string]bool{"whole": false, "other bytes behind the cut": true} {
		t.Run(what, func(t *testing.T) {
			var mu sync.Mutex
			serial := 0
			repo, count, _ := serve(t, img, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
				mu.Lock()
				defer mu.Unlock()
				token := fmt.Sprint("t", serial)
				if v := r.Header.Get("Range"); v != "" { // ggcr's registry knows no range without an end
					r.Header.Set("Range", fmt.Sprint(v, m.Layers[0].Size-1))
				}
				switch {
				case r.URL.Path == "/token":
					_, _ = fmt.Fprintf(w, `{"token": %q}`, token)
				case r.Header.Get("Authorization") != "Bearer "+token:
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
					w.WriteHeader(http.StatusUnauthorized)
				case !strings.Contains(r.URL.Path, layer.Hex):
					return w
				case serial == 0:
					serial++
					return &patiencetest.Cutter{ResponseWriter: w, Left: 50}
				case garbled:
					return garbler{w}
				default:
					return w
				}
				return nil
			})
			o := Options{Client: regclient.New(regclient.Options{Sleep: noWait}), Store: castest.Open(t)}
			_, err := facts(repo+":1", o)
			if garbled == (err == nil) || garbled == o.Store.Has(layer.Hex, -1) {
				t.Errorf("%v of kind %d, and the cache has it: %v", err, hint.KindOf(err), o.Store.Has(layer.Hex, -1))
			}
			if n := count(layer.Hex); n != 3 { // cut, refused, and the rest
				t.Errorf("%d requests for the layer", n)
			}
		})
	}
}
