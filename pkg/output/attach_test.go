package output

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/regclient"
)

// TestAttach: a text goes with an image that is new in a repository, in a registry that lists referrers and in one that does
// not, and the image stays what it is.
func TestAttach(t *testing.T) {
	onEach(t, nil, func(t *testing.T, host string) {
		o, _ := options()
		asked := 0
		o.Attach = func(img Image) []Attachment {
			asked++
			return []Attachment{{Kind: "application/vnd.test", Name: "test", Text: `["` + img.Digest.Hex + `"]`}, {Kind: "application/vnd.other", Name: "test", Text: "other"}}
		}
		o.Unattached = func(err error) { t.Error(err) }
		read := func(repo string, digest v1.Hash) []string {
			t.Helper()
			texts, err := Attached(context.Background(), o.Client, ref(t, host+"/"+repo+":1").Context(), digest, "application/vnd.test", "test")
			if err != nil {
				t.Fatal(err)
			}
			return texts
		}
		a, one := Single(testImage(t, OCI, amd64)), ref(t, host+"/team/app:1")
		if got := read("team/app", a.Digest); len(got) != 0 {
			t.Errorf("before anything was pushed, there is %q", got)
		}
		for range 2 {
			res, err := Push(context.Background(), o, a, []name.Reference{one})
			if err != nil || res.Pushed+res.Present != 3 || at(t, one) != a.Digest {
				t.Fatalf("%+v %v", res, err)
			}
		}
		if asked != 1 {
			t.Errorf("what goes with the image was asked for %d times; it was new once", asked)
		}
		if d := cmp.Diff([]string{`["` + a.Digest.Hex + `"]`}, read("team/app", a.Digest)); d != "" {
			t.Error(d)
		}
		if got := read("other/app", a.Digest); len(got) != 0 {
			t.Errorf("in a repository without it, there is %q", got)
		}
		both := several(t)
		if _, err := Push(context.Background(), o, both, []name.Reference{one, ref(t, host+"/other/app:1")}); err != nil {
			t.Fatal(err)
		}
		for _, img := range both.Images {
			for _, repo := range []string{"team/app", "other/app"} {
				if got := read(repo, img.Digest); len(got) != 1 || !strings.Contains(got[0], img.Digest.Hex) {
					t.Errorf("%s: with the image of %s goes %q", repo, img.Platform, got)
				}
			}
		}
	})
}

// TestUnattached: a registry that takes no attachment takes the image.
func TestUnattached(t *testing.T) {
	fault := func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") || strings.Contains(r.URL.Path, "/referrers/")
		if refused {
			http.Error(w, "not here", http.StatusForbidden)
		}
		return refused
	}
	onEach(t, fault, func(t *testing.T, host string) {
		o, _ := options()
		text := "x"
		var told []error
		o.Attach = func(Image) []Attachment {
			return []Attachment{{Kind: "application/vnd.test", Name: "test", Text: text}}
		}
		o.Unattached = func(err error) { told = append(told, err) }
		for _, s := range []string{"x", strings.Repeat("x", MaxAttachment+1)} {
			text = s
			a, one := Single(testImage(t, OCI, amd64, "base", s[:1], host, string(rune(len(told)+'a')))), ref(t, host+"/team/app:1")
			if _, err := Push(context.Background(), o, a, []name.Reference{one}); err != nil || at(t, one) != a.Digest {
				t.Errorf("%v", err)
			}
		}
		if len(told) != 2 || !strings.Contains(told[0].Error(), "attaching to "+host+"/team/app@sha256:") || !strings.Contains(told[1].Error(), "too long") {
			t.Errorf("%v", told)
		}
		if _, err := Attached(context.Background(), regclient.New(regclient.Options{}), ref(t, host+"/team/app:1").Context(), v1.Hash{Algorithm: "sha256", Hex: "aa"}, "application/vnd.test", "test"); err == nil {
			t.Error("what the registry refuses was read")
		}
	})
}

// FuzzReferrers reads what a registry says goes with an image.
func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":2,"artifactType":"x","annotations":{"a":"b"}}]}`))
	f.Add([]byte(`{"manifests":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseReferrers(b)
		if err != nil {
			return
		}
		again, err := encode(l)
		if err != nil {
			t.Skip(err) // a digest of an algorithm that cannot be written
		}
		if _, err := parseReferrers(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}
