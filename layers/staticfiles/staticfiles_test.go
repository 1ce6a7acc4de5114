package staticfiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
	"github.com/jubako/jubako/pkg/step"
)

func TestMain(m *testing.M) { sandboxtest.Main(m, "./testdata/python", &python) }

// python is the only program of the trees: see its source for what it can do.
var python []byte

// options is a project whose collectstatic does what DO says.
func options(t *testing.T, do string) Options {
	t.Helper()
	return Options{Workdir: "/app", Venv: ".venv", Manage: "manage.py", UID: 999, GID: 998, Epoch: 7, Store: sandboxtest.Store(t),
		Env: []string{"PATH=/usr/bin", "A=image"}, BuildEnv: []string{"DO=" + do, "ROOT=/app/staticfiles", "SECRET_KEY=hunter2hunter2"},
		Lower: func(context.Context) ([]rootfs.Group, error) {
			return []rootfs.Group{sandboxtest.Group(t, map[string]string{"usr/lib/x": "x"}), sandboxtest.Group(t, map[string]string{"app/.venv/bin/python": string(python)}),
				sandboxtest.Group(t, map[string]string{"app/manage.py": "m", "app/staticfiles/same.css": "same", "app/staticfiles/old.css": "old", "app/staticfiles/gone.css": "gone"})}, nil
		}, LowerKeys: []string{"b", "v", "a"}}
}

func collect(t *testing.T, o Options) (*Layer, *fstree.Tree, error) {
	t.Helper()
	l, err := New(o)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	tree, err := l.Tree(t.Context())
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		t.Skip(err)
	}
	return l, tree, err
}

func describe(t *testing.T, tree *fstree.Tree) (lines []string) {
	t.Helper()
	for e := range tree.All() {
		s := fmt.Sprintf("%s %s %o %d:%d %s", e.Path, e.Kind, e.Mode, e.UID, e.GID, e.Link)
		if e.Content != nil {
			r, err := e.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || int64(len(b)) != e.Content.Size() {
				t.Fatalf("%s: %d bytes of %d: %v", e.Path, len(b), e.Content.Size(), err)
			}
			s += fmt.Sprintf("%q", b)
		}
		lines = append(lines, s)
	}
	return lines
}

func TestTree(t *testing.T) {
	o := options(t, `write staticfiles/new.css new; write staticfiles/d/z.js.gz \x1f\x8b\x08\x00\x01\x02\x03\x04\x02\xffrest; write staticfiles/old.css OLD; `+
		`write staticfiles/same.css same; link ../old.css staticfiles/d/l; link /app/manage.py staticfiles/m; rm staticfiles/gone.css; write data/.secret x; write /usr/lib/y z; print a hunter2hunter2 b`)
	var log bytes.Buffer
	var ran []string
	o.Log, o.Ran = &log, func(c sandbox.Choice) { ran = append(ran, c.String()) }
	l, tree, err := collect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"app/staticfiles directory 755 999:998 ",
		"app/staticfiles/d directory 755 999:998 ",
		"app/staticfiles/d/l symlink 777 999:998 ../old.css",
		`app/staticfiles/d/z.js.gz file 644 999:998 "\x1f\x8b\b\x00\x00\x00\x00\x00\x02\xffrest"`,
		"app/staticfiles/gone.css whiteout 0 999:998 ",
		"app/staticfiles/m symlink 777 999:998 /app/manage.py",
		`app/staticfiles/new.css file 644 999:998 "new"`,
		`app/staticfiles/old.css file 644 999:998 "OLD"`,
	}
	if d := cmp.Diff(want, describe(t, tree)); d != "" {
		t.Error(d)
	}
	if log.String() != "a $SECRET_KEY b\n0 static files copied\n" || len(ran) != 1 || l.Summary() != "6 files" {
		t.Errorf("log %q, ran %v, %s", log.String(), ran, l.Summary())
	}
}

func TestOutputElsewhere(t *testing.T) {
	for name, set := range map[string]func(*Options){
		"asked": func(o *Options) { o.BuildEnv = append(o.BuildEnv, "ROOT=/public_collected") },
		"said": func(o *Options) {
			o.BuildEnv[0] += "; print %1 static file copied to '/public_collected'.%the last words"
			o.BuildEnv = append(o.BuildEnv, "ROOT=/nowhere", "PLACE=/public_collected") // struck out of what is logged
		},
		"configured": func(o *Options) { o.BuildEnv, o.Output = append(o.BuildEnv, "ROOT=/nowhere"), "/public_collected" },
	} {
		o := options(t, "write /public_collected/a.css a")
		set(&o)
		_, tree, err := collect(t, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff([]string{"public_collected directory 755 999:998 ", `public_collected/a.css file 644 999:998 "a"`}, describe(t, tree)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestDestination reads the last line of Django's collectstatic, in all its forms, and takes nothing else for it.
func TestDestination(t *testing.T) {
	for line, want := range map[string]string{
		"189 static files copied to '/app/staticfiles'.":                        "/app/staticfiles",
		"1 static file copied to '/srv/it's here'.":                             "/srv/it's here",
		"0 static files copied to '/app/s', 189 unmodified.":                    "/app/s",
		"2 static files symlinked to '/app/s', 1 unmodified, 3 post-processed.": "/app/s",
		"2 static files copied to '/app/s', 3 post-processed.":                  "/app/s",
		"2 static files copied.":                                                "",
		"2 static files copied to 'relative'.":                                  "",
		"2 static files copied to '/app/../etc'.":                               "",
		"2 static files copied to '/app/'.":                                     "",
		"it says: 2 static files copied to '/app/s'.":                           "",
		"2 static files copied to '/app/s'. And then":                           "",
		"2 files copied to '/app/s'.":                                           "",
	} {
		if got := destination([]string{"1 static file copied to '/earlier", line, "", "more"}); got != want {
			t.Errorf("%s: %q", line, got)
		}
	}
	if got := destination([]string{"1 static file copied to '/first'.", "1 static file copied to '/last'."}); got != "/last" {
		t.Error(got)
	}
}

func TestFailures(t *testing.T) {
	tests := map[string]struct {
		do, err, hint string
		set           func(*Options)
	}{
		"variable":    {do: `print Traceback hunter2hunter2%  File "<frozen os>", line 685%KeyError: 'DATABASE_URL'; fail`, err: "running \"python manage.py collectstatic --noinput\" in /app: exit status 1\n  | Traceback $SECRET_KEY\n", hint: `[tool.jubako.staticfiles] env = { DATABASE_URL = "…" }`},
		"nothing":     {do: "rm staticfiles/gone.css", set: func(o *Options) { o.Output = "static2" }, err: "there is nothing at /app/static2", hint: "[tool.jubako.staticfiles] output"},
		"no file":     {do: "write static2/x x; rm static2/x", set: func(o *Options) { o.Output = "static2" }, err: "/app/static2 holds no file", hint: "INSTALLED_APPS"},
		"unset":       {set: func(o *Options) { o.BuildEnv = append(o.BuildEnv, "ROOT=") }, err: "STATIC_ROOT is not set", hint: "STATIC_ROOT = BASE_DIR"},
		"the project": {set: func(o *Options) { o.BuildEnv = append(o.BuildEnv, "ROOT=/app") }, err: "the output /app holds the project itself"},
		"no python":   {set: func(o *Options) { o.Venv, o.Output = "", "x" }, err: `starting "python": it is in no folder of PATH (/usr/bin)`, hint: "command says what runs"},
		"lost link":   {do: "write data/x y; link ../data/x staticfiles/l", err: "/app/staticfiles/l is a symlink to ../data/x, which the image does not hold"},
		"tmp":         {set: func(o *Options) { o.Output = "/tmp/x" }, err: "lies in /tmp, which is no part of an image"},
		"no manage":   {set: func(o *Options) { o.Manage = "" }, err: "there is no manage.py", hint: "manage ="},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, test.do)
			if test.set != nil {
				test.set(&o)
			}
			_, _, err := collect(t, o)
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(hint.Of(err), test.hint) {
				t.Errorf("%v\nhint: %s", err, hint.Of(err))
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	o := options(t, "")
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Tree(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestKey: what changes the files changes the key, and nothing else does.
func TestKey(t *testing.T) {
	key := func(change func(*Options)) string {
		o := Options{Workdir: "/app", Manage: "manage.py", Env: []string{"A=1", "B=2"}, LowerKeys: []string{"x"}}
		change(&o)
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(l.Key())
	}
	plain := key(func(*Options) {})
	for name, change := range map[string]func(*Options){
		"env's order": func(o *Options) { o.Env = []string{"B=2", "A=0", "A=1"} },
		"rung":        func(o *Options) { o.Rung = sandbox.Chroot },
		"the same": func(o *Options) {
			o.Command, o.Dir = []string{"python", "manage.py", "collectstatic", "--noinput"}, "."
		},
		"no manage's": func(o *Options) { o.Log = io.Discard },
	} {
		if key(change) != plain {
			t.Errorf("%s changes the key", name)
		}
	}
	seen := map[string]string{plain: "plain"}
	for name, change := range map[string]func(*Options){
		"env":      func(o *Options) { o.BuildEnv = []string{"A=2"} },
		"lower":    func(o *Options) { o.LowerKeys = []string{"y"} },
		"output":   func(o *Options) { o.Output = "s" },
		"dir":      func(o *Options) { o.Dir = "s" },
		"command":  func(o *Options) { o.Command = []string{"x"} },
		"owner":    func(o *Options) { o.UID = 1 },
		"epoch":    func(o *Options) { o.Epoch = 1 },
		"writable": func(o *Options) { o.Writable = []string{"data"} },
		"venv":     func(o *Options) { o.Venv = ".venv" },
	} {
		k := key(change)
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
	}
}

func TestEnvironment(t *testing.T) {
	l, err := New(Options{Workdir: "/app", Venv: ".venv", Manage: "m.py", Epoch: 3, Env: []string{"PATH=/usr/bin", "A=1", "LANG=de"}, BuildEnv: []string{"A=2", "EMPTY="}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=2", "EMPTY=", "HOME=/tmp", "LANG=de", "PATH=/app/.venv/bin:/usr/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=3"}
	if d := cmp.Diff(want, l.env); d != "" {
		t.Error(d)
	}
}

func TestDiagnose(t *testing.T) {
	for output, want := range map[string]string{
		"os.environ[\"X\"]\nKeyError: 'X_KEY'": `env = { X_KEY = "…" }`,
		"KeyError: 'just_a_dict'":              "",
		"django.core.exceptions.ImproperlyConfigured: Set the DB_URL environment variable":                                           `env = { DB_URL = "…" }`,
		"decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a default value.":                        `env = { SECRET_KEY = "…" }`,
		`environs.exceptions.EnvError: Environment variable "REDIS_URL" not set`:                                                     `env = { REDIS_URL = "…" }`,
		"pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\nsecret_key\n  Field required [type=missing]": `env = { SECRET_KEY = "…" }`,
		"django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.":                                     `env = { SECRET_KEY = "…" }`,
		"django.core.exceptions.ImproperlyConfigured: Requested setting INSTALLED_APPS, but settings are not configured. You must":   `[tool.jubako] env = { DJANGO_SETTINGS_MODULE`,
		"ImproperlyConfigured: You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path.":    `STATIC_ROOT = BASE_DIR`,
		"ImportError: libpq.so.5: cannot open shared object file: No such file or directory":                                         `packages = ["libpq5"]`,
		"ImportError: libfoo.so.1: cannot open shared object file: No such file or directory":                                        "the base lacks libfoo.so.1",
		"ImportError: failed to find libmagic.  Check your installation":                                                             `packages = ["libmagic1"]`,
		"ModuleNotFoundError: No module named 'debug_toolbar'":                                                                       "no module debug_toolbar",
		"whitenoise.storage.MissingFileError: The file 'css/x.png' could not be found with <x>.":                                     "names css/x.png",
		"PermissionError: [Errno 13] Permission denied: '/app/data/db/x.sqlite'":                                                     `writable = ["data/db"]`,
		"PermissionError: [Errno 13] Permission denied: '/usr/x'":                                                                    "",
		"OSError: [Errno 101] Network is unreachable":                                                                                "steps have no network",
		"KeyError: 'A'\n\nDuring handling of the above exception, another:\n\nos.environ\nKeyError: 'B'":                             "B = ",
	} {
		if got := advice("/app").Diagnose(strings.Split(output, "\n")); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s\n%q\nwant %q", output, got, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("settings\n\n\x1ejubako \"/app/staticfiles\"\n")
	f.Add("\x1ejubako null\n")
	f.Add("\x1ejubako {")
	f.Add("2 static files copied to '/app/staticfiles', 1 unmodified.\n")
	f.Fuzz(func(t *testing.T, out string) {
		r := step.NewRecorder(nil, nil)
		_, _ = io.WriteString(r, out)
		root, err := parseAnswer(r.LastLines(answerLines))
		if err != nil && root != "" {
			t.Errorf("%q beside %v", root, err)
		}
		if d := destination(r.LastLines(answerLines)); d != "" && (!path.IsAbs(d) || path.Clean(d) != d) {
			t.Errorf("%q", d)
		}
		_ = advice("/app").Diagnose(r.LastLines(answerLines))
	})
}
