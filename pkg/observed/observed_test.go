package observed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/jubako/jubako/pkg/fstree"
)

// treeOf makes a tree: a file's content, ">" and a link's target, "/" for a directory.
func treeOf(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	var tree fstree.Tree
	for p, content := range files {
		e := fstree.Entry{Path: p, Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes(content)}
		if target, ok := strings.CutPrefix(content, ">"); ok {
			e = fstree.Entry{Path: p, Kind: fstree.Symlink, Link: target}
		}
		if content == "/" {
			e = fstree.Entry{Path: p, Kind: fstree.Dir, Mode: 0o755}
		}
		if rest, ok := strings.CutPrefix(content, "!"); ok {
			e.Mode, e.Content = 0o755, fstree.Bytes(rest)
		}
		if err := tree.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return NewTree(&tree)
}

func base() map[string]string {
	return map[string]string{"app/manage.py": "m", "app/site/views.py": "v", "app/site/a/x": "x", "app/link": ">site", "app/empty": "/"}
}

// TestChanged: of each kind of look, what changes it and what does not.
func TestChanged(t *testing.T) {
	for _, test := range []struct {
		look   Look
		change func(map[string]string)
		want   string // "" for nothing
	}{
		{Look{"app/manage.py", Read}, func(m map[string]string) { m["app/site/views.py"] = "w" }, ""},
		{Look{"app/manage.py", Read}, func(m map[string]string) { m["app/manage.py"] = "n" }, "app/manage.py has changed"},
		{Look{"app/manage.py", Stat}, func(m map[string]string) { m["app/manage.py"] = "n" }, ""},
		{Look{"app/manage.py", Stat}, func(m map[string]string) { m["app/manage.py"] = "nn" }, "app/manage.py has changed"},
		{Look{"app/manage.py", Stat}, func(m map[string]string) { m["app/manage.py"] = "!m" }, "app/manage.py has changed"},
		{Look{"app/manage.py", Read}, func(m map[string]string) { m["app/manage.py"] = "!m" }, "app/manage.py has changed"},
		{Look{"app/manage.py", Stat}, func(m map[string]string) { m["app/manage.py"] = ">m" }, "app/manage.py has changed"},
		{Look{"app/manage.py", Stat}, func(m map[string]string) { delete(m, "app/manage.py") }, "app/manage.py is gone"},
		{Look{"app/site", Stat}, func(m map[string]string) { m["app/site/new"] = "n" }, ""},
		{Look{"app/site", Read}, func(m map[string]string) { m["app/site/new"] = "n" }, "app/site holds other files"},
		{Look{"app/site", Read}, func(m map[string]string) { delete(m, "app/site/views.py") }, "app/site holds other files"},
		{Look{"app/site", Read}, func(m map[string]string) { m["app/site/views.py"] = ">a/x" }, "app/site holds other files"},
		{Look{"app/site", Read}, func(m map[string]string) { m["app/site/views.py"] = "other" }, ""},
		{Look{"app/site", Read}, func(m map[string]string) { m["app/site/a/new"] = "n" }, ""},
		{Look{"app/site", Whole}, func(m map[string]string) { m["app/site/a/new"] = "n" }, "app/site holds other files"},
		{Look{"app/site", Whole}, func(m map[string]string) { m["app/site/a/x"] = "y" }, "app/site holds other files"},
		{Look{"app/site", Whole}, func(m map[string]string) { m["app/manage.py"] = "y" }, ""},
		{Look{"app/link", Stat}, func(m map[string]string) { m["app/link"] = ">else" }, "app/link has changed"},
		{Look{"app/none", Stat}, func(m map[string]string) { m["app/other"] = "x" }, ""},
		{Look{"app/none", Stat}, func(m map[string]string) { m["app/none"] = "x" }, "app/none is new"},
		{Look{"app/none/at/all", Read}, func(m map[string]string) { m["app/none/x"] = "x" }, "app/none is new"},
		{Look{"app/manage.py/x", Stat}, func(m map[string]string) { delete(m, "app/manage.py"); m["app/manage.py/y"] = "" }, "app/manage.py has changed"},
		{Look{"usr/lib/python3", Read}, func(m map[string]string) { m["app/x"] = "" }, ""},
		{Look{"usr/lib/python3", Read}, func(m map[string]string) { m["usr/x"] = "" }, "usr is new"},
		{Look{".", Read}, func(m map[string]string) { m["app/x"] = "" }, ""},
		{Look{".", Read}, func(m map[string]string) { m["srv/x"] = "" }, ". holds other files"},
		{Look{"app/empty", Read}, func(m map[string]string) { m["app/empty/x"] = "" }, "app/empty holds other files"},
	} {
		r, err := Make([]Look{{"etc", Stat}, test.look, test.look}, treeOf(t, base()))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := r.Changed(treeOf(t, base())); err != nil || c != nil {
			t.Errorf("%v: in the same tree, %v %v", test.look, c, err)
		}
		files := base()
		test.change(files)
		c, err := r.Changed(treeOf(t, files))
		got := ""
		if c != nil {
			got = c.Path + " " + c.What
		}
		if got != test.want || err != nil {
			t.Errorf("%v: %q, not %q (%v)", test.look, got, test.want, err)
		}
	}
}

// TestSmall: what lies in other layers, and what the command makes itself, comes down to a path each.
func TestSmall(t *testing.T) {
	looks := []Look{{"app/manage.py", Stat}, {"app/manage.py", Read}, {"app/site", Read}}
	for i := range 1000 {
		looks = append(looks, Look{fmt.Sprintf("usr/lib/python3/m%d.py", i), Read}, Look{fmt.Sprintf("app/static/s%d/x.css", i), Stat})
	}
	tree := treeOf(t, base())
	r, err := Make(looks, tree)
	if err != nil {
		t.Fatal(err)
	}
	var got []Look
	for _, l := range r.looks {
		got = append(got, l.Look)
	}
	want := []Look{{".", Stat}, {"app", Stat}, {"app/manage.py", Read}, {"app/site", Read}, {"app/static", Stat}, {"usr", Stat}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, again, cmp.AllowUnexported(Record{}, recorded{})); d != "" {
		t.Error(d)
	}
}

// hashed is content whose digest is known, and which cannot be read.
type hashed struct{ sum string }

func (hashed) Size() int64                  { return 1 }
func (hashed) Open() (io.ReadCloser, error) { return nil, errors.New("cannot be read") }
func (h hashed) SHA256() string             { return h.sum }

func TestHashed(t *testing.T) {
	tree := func(sum string) *Tree {
		var tree fstree.Tree
		if err := tree.Add(fstree.Entry{Path: "x", Kind: fstree.File, Content: hashed{sum}}); err != nil {
			t.Fatal(err)
		}
		return NewTree(&tree)
	}
	r, err := Make([]Look{{"x", Read}}, tree("aa"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := r.Changed(tree("bb")); c == nil || err != nil {
		t.Errorf("%v %v", c, err)
	}
	if _, err := Make([]Look{{"x", Read}}, tree("")); err == nil {
		t.Error("nothing was read")
	}
	if _, err := r.Changed(tree("")); err == nil {
		t.Error("nothing was read")
	}
}

// TestSum: where the short sums agree, that of all decides.
func TestSum(t *testing.T) {
	r, err := Make([]Look{{"app/manage.py", Read}}, treeOf(t, base()))
	if err != nil {
		t.Fatal(err)
	}
	r.sum[0]++
	if c, err := r.Changed(treeOf(t, base())); c == nil || err != nil {
		t.Errorf("%v %v", c, err)
	}
}

func compressed(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Bytes()
}

func TestRefused(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"":                                "cut",
		"jubako looks 1\n" + sum + "\n\n": "its first line",
		header + "\n" + sum + "\n":        "its first line",
		header + "\n" + sum:               "cut",
		header + "\n" + sum[1:] + "\n\n":  "line 2",
		header + "\n" + strings.ToUpper(sum) + "\n\n":                          "line 2",
		header + "\n" + sum + "\n00\ns0 a\n":                                   "line 3: it has 2 bytes for 1 looks",
		header + "\n" + sum + "\n0000\n":                                       "line 3: it has 4 bytes for 0 looks",
		header + "\n" + sum + "\n00AA\ns0 a\n":                                 "no digest of 2 bytes",
		header + "\n" + sum + "\n0000\nx0 a\n":                                 "no look of the kind",
		header + "\n" + sum + "\n0000\nsr0 a\n":                                "its path begins with",
		header + "\n" + sum + "\n0000\ns1 a\n":                                 `its path begins with "1" bytes of one of 0`,
		header + "\n" + sum + "\n0000\ns-1 a\n":                                "its path begins with",
		header + "\n" + sum + "\n0000\ns0a\n":                                  "is no look",
		header + "\n" + sum + "\n0000\n a\n":                                   "is no look",
		header + "\n" + sum + "\n0000\ns0 /a\n":                                "not clean",
		header + "\n" + sum + "\n0000\ns0 a/../b\n":                            "not clean",
		header + "\n" + sum + "\n00000000\ns0 b\ns0 a\n":                       "line 5: it is out of order",
		header + "\n" + sum + "\n00000000\ns0 a\nr1 \n":                        "out of order",
		header + "\n" + sum + "\n00000000\ns0 a\nr0 ab\n":                      "more of its path is that above",
		header + "\n" + sum + "\n0000\ns0 " + strings.Repeat("a", 5000):        "cut",
		header + "\n" + sum + "\n0000\ns0 " + strings.Repeat("a", 5000) + "\n": "too long",
	} {
		if _, err := Parse(compressed(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, not %q", text, err, want)
		}
	}
	if _, err := Parse([]byte("plain")); err == nil {
		t.Error("what is not compressed was read")
	}
	if _, err := Parse(make([]byte, MaxRecord+1)); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
	long := strings.Repeat("a", 4000)
	var many strings.Builder
	fmt.Fprintf(&many, "%s\n%s\n%s\ns0 %s\n", header, sum, strings.Repeat("0000", 10_001), long)
	above := ""
	for i := range 10_000 {
		p := fmt.Sprintf("%05d", i)
		n := commonPrefix(above, p)
		fmt.Fprintf(&many, "s%d %s\n", len(long)+n, p[n:])
		above = p
	}
	if _, err := Parse(compressed(many.String())); err == nil || !strings.Contains(err.Error(), "its paths are too long") {
		t.Errorf("a record that grows to 40 MB: %v", err)
	}
	if _, err := Make([]Look{{"/x", Stat}}, treeOf(t, base())); err == nil {
		t.Error("a path that is no look's was taken")
	}
}

// FuzzParse: whatever an image says that its steps have looked at is refused, or is a record that can be written again.
func FuzzParse(f *testing.F) {
	var tree fstree.Tree
	_ = tree.Add(fstree.Entry{Path: "app/x", Kind: fstree.File, Mode: 0o644, Content: fstree.Bytes("x")})
	r, err := Make([]Look{{"app/x", Read}, {"app", Whole}, {"usr/x", Stat}}, NewTree(&tree))
	if err != nil {
		f.Fatal(err)
	}
	b, err := r.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(compressed(header + "\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		same, err := Parse(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if d := cmp.Diff(r, same, cmp.AllowUnexported(Record{}, recorded{})); d != "" {
			t.Error(d)
		}
		if _, err := r.Changed(NewTree(&tree)); err != nil {
			t.Error(err)
		}
	})
}
