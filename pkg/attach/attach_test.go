package attach

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func subject() Subject {
	return Subject{types.OCIManifestSchema1, digestOf([]byte("the image")), 9}
}

func TestManifest(t *testing.T) {
	small, large := Attachment{"facts-1", []byte("small")}, Attachment{"a.record", bytes.Repeat([]byte("x"), inline+1)}
	raw, err := Manifest(subject(), []Attachment{small, large})
	if err != nil {
		t.Fatal(err)
	}
	if other, err := Manifest(subject(), []Attachment{large, small}); err != nil || !bytes.Equal(raw, other) {
		t.Errorf("the order shows: %v", err)
	}
	all, err := Parse(raw)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if e := all[0]; e.Name != "a.record" || e.Data != nil || e.Size != inline+1 || e.Digest != large.Digest() {
		t.Errorf("the large one is %+v", e)
	}
	if e := all[1]; e.Name != "facts-1" || string(e.Data) != "small" || e.Digest != small.Digest() {
		t.Errorf("the small one is %+v", e)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject == nil || m.Subject.Digest != subject().Digest || m.Config.Size != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestManifestRefusals(t *testing.T) {
	for why, all := range map[string][]Attachment{
		"no":        nil,
		"no name":   {{Name: ""}},
		"a folder":  {{Name: "a/b"}},
		"twice":     {{Name: "a"}, {Name: "b"}, {Name: "a", Data: []byte("x")}},
		"too large": {{Name: "a", Data: make([]byte, MaxSize+1)}},
		"too many":  slices.Repeat([]Attachment{{Name: "a"}}, MaxCount+1),
	} {
		if _, err := Manifest(subject(), all); err == nil {
			t.Errorf("%s: it was made", why)
		}
	}
}

func TestParseRefusals(t *testing.T) {
	raw, err := Manifest(subject(), []Attachment{{"a", []byte("one")}, {"b", []byte("two")}})
	if err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string][2]string{
		"another type":           {ArtifactType, "application/other"},
		"two of a name":          {`"` + title + `":"b"`, `"` + title + `":"a"`},
		"other data":             {`"data":"b25l"`, `"data":"dHdv"`},
		"another size":           {`"size":3`, `"size":4`},
		"a negative size":        {`"size":3,"data":"b25l"`, `"size":-1`},
		"too large":              {`"size":3,"data":"b25l"`, `"size":4194305`},
		"a name with a folder":   {`"` + title + `":"b"`, `"` + title + `":"../b"`},
		"cut":                    {`}}`, ``},
		"an algorithm of others": {"sha256:" + digestOf([]byte("one")).Hex, "sha512:" + strings.Repeat("0", 128)},
	} {
		bad := strings.Replace(string(raw), change[0], change[1], 1)
		if bad == string(raw) {
			t.Fatalf("%s: the manifest does not hold %s:\n%s", why, change[0], raw)
		}
		if all, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", why, all)
		}
	}
}

func TestList(t *testing.T) {
	first, err := List(nil, []byte("first"))
	if err != nil {
		t.Fatal(err)
	}
	signed := strings.Replace(string(first), `"manifests":[`, `"manifests":[{"mediaType":"m","digest":"sha256:00","size":7,"artifactType":"signature","annotations":{"k":"<v>"}},`, 1)
	second, err := List([]byte(signed), []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(second), digestOf([]byte("first")).Hex) || !strings.Contains(string(second), digestOf([]byte("second")).Hex) || !strings.Contains(string(second), `{"k":"<v>"}`) {
		t.Errorf("the list is %s", second)
	}
	for _, bad := range []string{"", "[]", `{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`} {
		if got, err := List([]byte(bad), nil); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	raw, err := Manifest(subject(), []Attachment{{"a", []byte("one")}, {"b", bytes.Repeat([]byte("x"), inline+1)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"artifactType":"` + ArtifactType + `","layers":[{"mediaType":"` + MediaType + `"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := Parse(b)
		if err != nil {
			return
		}
		for _, e := range all {
			if !nameRE().MatchString(e.Name) || e.Size < 0 || e.Size > MaxSize || e.Data != nil && digestOf(e.Data) != e.Digest {
				t.Errorf("%+v", e)
			}
		}
		if list, err := List(b, b); err == nil && !json.Valid(list) {
			t.Errorf("the list is %s", list)
		}
	})
}
