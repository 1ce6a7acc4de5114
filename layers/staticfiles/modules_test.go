package staticfiles

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/pycache"
	"github.com/jubako/jubako/pkg/pyimport"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
)

// TestModules gives a command the bytecode of what it has imported before, but for what is the project's own, and leaves no trace of it
// in what the command has looked at.
func TestModules(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("no processor is idle beside a command")
	}
	o := options(t, "import /app/.venv/lib/m.py; import /app/mine.py; write staticfiles/x.css x; sleep 200ms")
	o.StepKeys = []string{"b", "v"}
	o.Python = pycache.Interpreter{Path: "/usr/bin/python3.12", Tag: "cpython-312"}
	o.Lower = func(context.Context) ([]rootfs.Group, error) {
		return []rootfs.Group{sandboxtest.Group(t, map[string]string{"usr/bin/python3.12": string(python)}),
			sandboxtest.Group(t, map[string]string{"app/.venv/bin/python": string(python)}), sandboxtest.Group(t, map[string]string{"app/.venv/lib/m.py": "m"}),
			sandboxtest.Group(t, map[string]string{"app/mine.py": "mine"}), sandboxtest.Group(t, map[string]string{"app/manage.py": "is no Python"})}, nil
	}
	var log bytes.Buffer
	o.Log = &log
	found, compiled := 0, 0
	o.Bytecode = func(f, c int, err error) {
		found, compiled = f, compiled+c
		if err != nil {
			t.Error(err)
		}
	}
	var first []observed.Look
	for run := range 50 { // how long the compiler takes to start is the machine's affair
		log.Reset()
		l, _, err := collect(t, o)
		if err != nil {
			t.Fatal(err)
		}
		looks, err := l.Looked()
		if err != nil {
			t.Skip(err) // then nothing is known of what it reads
		}
		switch {
		case run == 0:
			first = looks
			if found+compiled > 0 || strings.Contains(log.String(), "imported") {
				t.Errorf("the first run found %d, and compiled %d: %s", found, compiled, log.String())
			}
		case found > 0:
			if found != 1 || compiled != 1 || strings.Count(log.String(), "imported") != 1 || !strings.Contains(log.String(), "imported pyc of /app/.venv/lib/m.py: M\n") {
				t.Errorf("run %d found %d, and %d were compiled before: %s", run, found, compiled, log.String())
			}
			if d := cmp.Diff(first, looks, cmpopts.IgnoreSliceElements(func(l observed.Look) bool { return strings.HasPrefix(l.Path, "proc/") })); d != "" {
				t.Error(d) // but for the processes' numbers
			}
			return
		}
	}
	t.Errorf("no run found anything; %d modules were compiled", compiled)
}

// TestModulesAtOnce: what manage.py imports is compiled beside the first run, which finds it.
func TestModulesAtOnce(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("no processor is idle beside a command")
	}
	const site = "app/.venv/lib/python3.12/site-packages/"
	o := options(t, "await /"+site+"m.py; await /app/mine.py; write staticfiles/x.css x; import /"+site+"m.py; import /app/mine.py")
	o.StepKeys = []string{"b", "v"}
	o.Python = pycache.Interpreter{Path: "/usr/bin/python3.12", Tag: "cpython-312"}
	o.Lower = func(context.Context) ([]rootfs.Group, error) {
		return []rootfs.Group{sandboxtest.Group(t, map[string]string{"usr/bin/python3.12": string(python)}),
			sandboxtest.Group(t, map[string]string{"app/.venv/bin/python": string(python), site + "m.py": "import none"}),
			sandboxtest.Group(t, map[string]string{"app/mine.py": "import m", "app/manage.py": "import mine"})}, nil
	}
	var log bytes.Buffer
	o.Log = &log
	var choice sandbox.Choice
	o.Ran = func(c sandbox.Choice) { choice = c }
	compiled := 0
	o.Bytecode = func(found, c int, err error) {
		compiled = c
		if found != 0 || err != nil {
			t.Errorf("%d found, %v", found, err)
		}
	}
	l, _, err := collect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if choice.Rung != sandbox.Userns && choice.Rung != sandbox.Ptrace {
		t.Skip(choice, "may not show a command what comes")
	}
	if compiled != 3 || !strings.Contains(log.String(), "imported pyc of /"+site+"m.py: IMPORT NONE\nimported pyc of /app/mine.py: IMPORT M\n") {
		t.Errorf("%d were compiled: %s", compiled, log.String())
	}
	looks, err := l.Looked()
	if err != nil || slices.ContainsFunc(looks, func(l observed.Look) bool { return strings.Contains(l.Path, "pycache") }) {
		t.Errorf("%v, %v", looks, err)
	}
}

// TestLikely follows manage.py to the settings, and these to what Django imports of each app.
func TestLikely(t *testing.T) {
	const site = "app/.venv/lib/python3.12/site-packages/"
	files := fstest.MapFS{}
	for name, content := range map[string]string{
		"app/src/manage.py":                                                      "import os\nfrom django.core import management\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings.live')\n",
		"app/src/shop/__init__.py":                                               "",
		"app/src/shop/urls.py":                                                   "",
		"app/src/shop/settings/__init__.py":                                      "",
		"app/src/shop/settings/base.py":                                          "INSTALLED_APPS = ['django.contrib.staticfiles', 'cart', 'orders.apps.OrdersConfig', 'gone']\nENGINE = 'db.sqlite'\nMIDDLEWARE = ['cart.middleware.M']",
		"app/src/shop/settings/live.py":                                          "from .base import *\nROOT_URLCONF = 'shop.urls'",
		"app/src/shop/settings/other.py":                                         "",
		"app/src/cart/__init__.py":                                               "",
		"app/src/cart/models.py":                                                 "import money",
		"app/src/cart/middleware.py":                                             "",
		"app/src/cart/views.py":                                                  "",
		"app/src/orders/__init__.py":                                             "",
		"app/src/orders/apps.py":                                                 "import checkers",
		"app/src/orders/admin.py":                                                "",
		site + "checkers.py":                                                     "",
		site + "money.py":                                                        "X = 'cart'",
		site + "db/__init__.py":                                                  "",
		site + "db/sqlite/__init__.py":                                           "",
		site + "db/sqlite/base.py":                                               "",
		site + "django/__init__.py":                                              "",
		site + "django/core/__init__.py":                                         "",
		site + "django/core/management/__init__.py":                              "import keyword",
		site + "django/contrib/__init__.py":                                      "",
		site + "django/contrib/staticfiles/__init__.py":                          "",
		site + "django/contrib/staticfiles/apps.py":                              "",
		site + "django/contrib/staticfiles/checks.py":                            "",
		site + "django/contrib/staticfiles/management/__init__.py":               "",
		site + "django/contrib/staticfiles/management/commands/__init__.py":      "",
		site + "django/contrib/staticfiles/management/commands/collectstatic.py": "",
		"opt/lib/extra.py":                                                       "",
		"usr/local/lib/python3.12/keyword.py":                                    "import extra",
	} {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	o := options(t, "")
	o.Manage, o.Env, o.Python = "src/manage.py", append(o.Env, "PYTHONPATH=lib:/opt/lib"), pycache.Interpreter{Path: "/usr/local/bin/python3.12", Tag: "cpython-312"}
	got := func() []string {
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		g := pyimport.NewGraph(files, l.roots()...)
		l.likely(g)
		var list []string
		for _, f := range g.Files() {
			f = strings.TrimPrefix(strings.TrimPrefix(f, site), "app/src/")
			if !strings.HasSuffix(f, "__init__.py") {
				list = append(list, f)
			}
		}
		return list
	}
	want := []string{"manage.py", "usr/local/lib/python3.12/keyword.py", "opt/lib/extra.py", "shop/settings/live.py", "shop/settings/base.py", "django/contrib/staticfiles/apps.py",
		"orders/apps.py", "checkers.py", "cart/models.py", "money.py", "django/contrib/staticfiles/management/commands/collectstatic.py", "orders/admin.py",
		"django/contrib/staticfiles/checks.py", "db/sqlite/base.py"}
	if d := cmp.Diff(want, got()); d != "" {
		t.Error(d)
	}
	o.Env = append(o.Env, "DJANGO_SETTINGS_MODULE=shop.settings.other")
	if list := got(); !slices.Contains(list, "shop/settings/other.py") || slices.Contains(list, "shop/settings/live.py") {
		t.Error(list)
	}
}
