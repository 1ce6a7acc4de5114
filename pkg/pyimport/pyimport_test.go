package pyimport

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func (i Import) String() string {
	if i.Names == nil {
		return i.Module
	}
	return strings.Repeat(".", i.Level) + i.Module + ":" + strings.Join(i.Names, ",")
}

func TestScan(t *testing.T) {
	tests := map[string]struct {
		source string
		want   string
	}{
		"plain":              {"import os\nimport a.b as c, d\nimport\te\n", "os a.b d e"},
		"from":               {"from a.b import c as d, e\nfrom . import f\nfrom .. g import *\nfrom ...h.i import j\nfrom .import k\n", "a.b:c,e .:f ..g:* ...h.i:j .:k"},
		"brackets":           {"from a import (  # why\n    b,\n    c as d,\n)\nimport e\n", "a:b,c e"},
		"lines that go on":   {"from a import b, \\\n    c\nimport \\\r\n  d\r\nimport e\r\n", "a:b,c d e"},
		"several of a line":  {"import a; import b; x = 1; from c import d\n", "a b c:d"},
		"literals":           {"\"\"\"\nimport no\n\"\"\"\nx = 'import no'; y = '''\nimport no\n'''\nimport a\ns = \"it's\"\nimport b\nr'\\'\nimport c'\nimport d\n", "a b d"},
		"comments":           {"# import no\nimport a  # import no\n   # import no\nimport b\n", "a b"},
		"functions":          {"def f():\n    import no\n    if x:\n        import no\n\n    # still in it\n    import no\nimport a\nasync def g(): pass\nclass C:\n    import b\n    def m(self):\n        import no\n    from c import d\nimport e\n", "a b c:d e"},
		"a comment between":  {"def f():\n    x = 1\n# here\n    import no\nimport a", "a"},
		"type checkers":      {"if TYPE_CHECKING:\n    import no\nelse:\n    import a\nif not TYPE_CHECKING:\n    import b\nif typing.TYPE_CHECKING:\n\timport no\n", "a b"},
		"other systems":      {"if sys.platform == 'win32':\n    import no\nelif os.name == \"nt\":\n    import no\nelse:\n    import a\nif sys.platform != 'win32':\n    import b\nif sys.platform == 'linux':\n    import c\n", "a b c"},
		"fallbacks":          {"try:\n    import a\nexcept ImportError:\n    import no\nexcept (X, ModuleNotFoundError):\n    import no\nexcept ValueError:\n    import b\nfinally:\n    import c\n", "a b c"},
		"programs":           {"if __name__ == '__main__':\n    import no\nimport a\n", "a"},
		"nearly":             {"imports = 1\nfrom_x = 2\nimportlib.reload(x)\nfromage import no\nimport\nfrom\nfrom a\nfrom a import\nfrom 1 import b\nimport 1\n", ""},
		"brackets that stay": {"x = (\n    'a'\nimport no\n", ""},
		"more that close":    {"x = )\nimport a\n", "a"},
		"no end":             {"import a", "a"},
		"a literal's end":    {"x = 'open\nimport a\n", "a"},
		"empty":              {"", ""},
	}
	for name, tt := range tests {
		var got []string
		for _, i := range Scan([]byte(tt.source)).Imports {
			got = append(got, i.String())
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
	got := Scan([]byte("A = ['django.contrib.admin', \"shop\", 'shop', 'a b', f'no{x}', b'no', u'yes_1', '1no', 'no.', '.no', '', '''no''', 'shop.apps.Shop']\n" +
		"def f():\n    x = 'inner'\n")).Strings
	if d := cmp.Diff([]string{"django.contrib.admin", "shop", "yes_1", "shop.apps.Shop", "inner"}, got); d != "" {
		t.Error(d)
	}
}

// of is a Tree of these files.
func of(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func TestGraph(t *testing.T) {
	tree := of(map[string]string{
		"app/manage.py":                  "import sys, os\nfrom django.core import management\nimport later",
		"app/later.py":                   "import again.sub.x\nfrom space.inner import leaf, gone",
		"app/space/inner/leaf.py":        "",
		"app/shadow.py":                  "import later",
		"site/django/__init__.py":        "from .utils.version import get\nfrom . import core",
		"site/django/utils/__init__.py":  "",
		"site/django/utils/version.py":   "from ..core.none import x\nfrom ... import beyond\nimport again",
		"site/django/core/__init__.py":   "",
		"site/django/core/management.py": "import shadow",
		"site/shadow/__init__.py":        "import never",
		"site/never.py":                  "",
		"lib/again/__init__.py":          "import again.sub",
		"lib/again/sub.py":               "import again",
		"lib/os.py":                      "import never",
		"app/named.py":                   "x = 'a.b'",
		"lib/native.so":                  "",
	})
	tree["lib/linked.py"] = &fstest.MapFile{Data: []byte("app/later.py"), Mode: fs.ModeSymlink}
	g := NewGraph(tree, "app", "site", "lib")
	g.Visit("manage")
	g.Visit("manage")
	g.Visit("not.there")
	g.Visit("native")
	g.Visit("linked")
	want := []string{"app/manage.py", "site/django/__init__.py", "site/django/utils/__init__.py", "site/django/utils/version.py", "site/django/core/__init__.py",
		"lib/again/__init__.py", "lib/again/sub.py", "site/django/core/management.py", "app/shadow.py", "app/later.py", "app/space/inner/leaf.py"}
	if d := cmp.Diff(want, g.Files()); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"django": "site/django/__init__.py true", "django.core.management": "site/django/core/management.py false",
		"space": " true", "space.inner.leaf": "app/space/inner/leaf.py false", "again.sub.x": " false", "": " false", ".": " false", "django.": " false", "native": " false"} {
		file, pkg, ok := g.Find(name)
		if got := fmt.Sprint(file, " ", pkg); got != want || ok != (file != "") {
			t.Errorf("%q: %s %v, not %s", name, got, ok, want)
		}
	}
	if got := g.Strings("none"); got != nil {
		t.Error(got)
	}
	if got := g.Strings("app/named.py"); !slices.Equal(got, []string{"a.b"}) {
		t.Error(got)
	}
}

// FuzzScan: whatever the source, a graph of it comes to an end, and names what could be a module.
func FuzzScan(f *testing.F) {
	for _, s := range []string{"import a.b as c\nfrom . import (d,\n e)\n", "def f():\n\timport x\n'''", "if TYPE_CHECKING:\n import a\nelse:\n import b", "x = \"a.b\\\"\" # '"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := Scan(b)
		for _, i := range s.Imports {
			if i.Module != "" && !dotted([]byte(i.Module)) || i.Level == 0 && i.Module == "" || i.Level > 0 && i.Names == nil {
				t.Errorf("%+v", i)
			}
		}
		for _, name := range s.Strings {
			if !dotted([]byte(name)) || !strings.Contains(string(b), name) {
				t.Errorf("%q", name)
			}
		}
		g := NewGraph(of(map[string]string{"a/__init__.py": string(b), "a/b.py": string(b)}), ".")
		g.Visit("a.b")
		if len(g.Files()) > 2 {
			t.Error(g.Files())
		}
	})
}
