package wheel

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
)

// memory is a wheel of files in memory.
type memory []File

func (m memory) Filename() Filename {
	return Filename{Raw: "a-1-py3-none-any.whl", Name: "a", Version: "1"}
}
func (m memory) Files() []File { return m }

func rewritten(t *testing.T, m memory) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Rewrite(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRewrite: the same files make the same bytes, by a form that Open takes; RECORD is made anew. The digest holds the form
// itself still: a change of it is another pep517.Format.
func TestRewrite(t *testing.T) {
	info := "a-1.dist-info/"
	m := memory{
		{Path: "a.data", Dir: true}, {Path: info + "METADATA", Content: fstree.Bytes("Metadata-Version: 2.1\nName: a\nVersion: 1\n")},
		{Path: info + "RECORD", Content: fstree.Bytes("stale,,\n")}, {Path: info + "WHEEL", Content: fstree.Bytes("Wheel-Version: 1.0\n")},
		{Path: "a/run", Executable: true, Content: fstree.Bytes(strings.Repeat("all work and no play\n", 500))}, {Path: "ä.py", Content: fstree.Bytes("")},
	}
	first := rewritten(t, m)
	a, err := Open(bytes.NewReader(first), int64(len(first)), "a-1-py3-none-any.whl")
	if err != nil {
		t.Fatal(err)
	}
	again := rewritten(t, a.Files())
	if !bytes.Equal(first, again) {
		t.Error("what was rewritten is rewritten in another way")
	}
	var names []string
	record := ""
	for _, f := range a.Files() {
		names = append(names, fmt.Sprintf("%s %t %t", f.Path, f.Dir, f.Executable))
		if f.Path == info+"RECORD" {
			r, err := f.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := b.ReadFrom(r); err != nil {
				t.Fatal(err)
			}
			record = b.String()
		}
	}
	want := []string{info[:len(info)-1] + "/METADATA false false", info + "RECORD false false", info + "WHEEL false false", "a.data true true", "a/run false true", "ä.py false false"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if !strings.Contains(record, "a/run,sha256=") || strings.Contains(record, "stale") || !strings.Contains(record, info+"RECORD,,\n") {
		t.Errorf("RECORD is %q", record)
	}
	const golden = "63ad57ab5b7486b9fe98d7ee6063b45ad33487021616789f3405429263359c0d"
	if got := fmt.Sprintf("%x", sha256.Sum256(first)); got != golden {
		t.Errorf("the bytes are %s, and were %s", got, golden)
	}
	if err := Rewrite(&bytes.Buffer{}, m[:2]); err == nil || !strings.Contains(err.Error(), "no RECORD") {
		t.Errorf("without RECORD: %v", err)
	}
}
