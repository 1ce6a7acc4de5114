package pybuild

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/wheel"
)

// FuzzMetadataSynthesis: whatever the project's texts hold, METADATA's head stays one that wheel reads, with the fields that
// belong there, each once; the readme stands whole below it, and adds none.
func FuzzMetadataSynthesis(f *testing.F) {
	f.Add("A site", "Zoë, the 2nd", "z@example.com", "MIT", "django>=5", "# Site\n\nName: evil\n")
	f.Add("two\nlines\n\n", "A\nVersion: 9", "", "text\nName: other", "x @ https://example.com/x-1.0-py3-none-any.whl ; os_name == 'nt'", "")
	f.Add("tab\there", "", "only@example.com", "\n\n", "Zed (>=1.0)", "no line's end")
	f.Fuzz(func(t *testing.T, summary, name, mail, licence, dependency, readme string) {
		for _, s := range []string{summary, name, mail, licence, dependency, readme} {
			if strings.ContainsFunc(s, func(r rune) bool { return r == 0xfffd || r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
				t.Skip() // what Go quotes in another way than TOML
			}
		}
		q := strconv.Quote
		text := "[project]\nname = \"my-site\"\nversion = \"1.0\"\ndescription = " + q(summary) + "\nlicense = { text = " + q(licence) + " }\nauthors = [{ name = " + q(name) +
			", email = " + q(mail) + " }]\ndependencies = [" + q(dependency) + "]\nreadme = { text = " + q(readme) + ", content-type = \"text/plain\" }\n" +
			"[build-system]\nbuild-backend = \"uv_build\"\n"
		got, err := build(t, true, text, "src/my_site/__init__.py")
		if err != nil {
			return
		}
		metadata := got["my_site-1.0.dist-info/METADATA"]
		head, body, ok := strings.Cut(metadata, "\n\n")
		if !ok || body != readme {
			t.Fatalf("the readme %q became %q of %q", readme, body, metadata)
		}
		headers, err := wheel.ParseHeaders(strings.NewReader(head + "\n"))
		if err != nil {
			t.Fatalf("%v: %q", err, head)
		}
		known := []string{"Metadata-Version", "Name", "Version", "Summary", "Author", "Author-email", "License", "Requires-Dist", "Description-Content-Type"}
		for _, h := range headers {
			i := slices.Index(known, h.Name)
			if i < 0 {
				t.Fatalf("a field %q too many in %q", h.Name, head)
			}
			known = slices.Delete(known, i, i+1)
		}
		if v, _ := headers.Get("Name"); v != "my-site" {
			t.Errorf("Name is %q", v)
		}
	})
}
