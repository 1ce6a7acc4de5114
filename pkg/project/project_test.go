package project

import (
	stdcmp "cmp"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
)

const document = `[project]
name = "site"
version = "1.2"
dependencies = ["django"]
[project.scripts]
site = "site:main"
[dependency-groups]
dev = ["pytest", { include-group = "lint" }]
lint = ["ruff"]
[tool.jubako]
image = "reg.example/team/site"
workdir = "/srv/app/"
user = { name = "web", uid = 10001 }
env = { A = "1", B = "2" }
expose = [8000, "53/udp"]
healthcheck = { cmd = "curl -f x", interval = "30s", timeout = "1m30s", retries = 3 }
cmd = ["a", "b"]
[tool.jubako.staticfiles]
env = { SECRET_KEY = "x" }
[[tool.jubako.copy]]
from = "../dist"
to = "static/dist"
[tool.jubako.profile.dev]
groups = ["dev"]
staticfiles = false
env = { B = "3" }
healthcheck = { url = "http://localhost:8000/" }
cmd = ["c"]
`

func TestConfig(t *testing.T) {
	p, err := parse("pyproject.toml", []byte(document), DefaultProfile, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Image: "reg.example/team/site", Workdir: "/srv/app", Source: ".", Venv: ".venv", User: User{"web", 10001, -1}, Env: map[string]string{"A": "1", "B": "2"},
		Expose: []string{"8000/tcp", "53/udp"}, Healthcheck: &Healthcheck{Shell: "curl -f x", Interval: 30 * time.Second, Timeout: 90 * time.Second, Retries: 3},
		Cmd: []string{"a", "b"}, Staticfiles: Staticfiles{Set: true, Env: map[string]string{"SECRET_KEY": "x"}}, Copy: []Copy{{"../dist", "static/dist"}},
	}
	if d := cmp.Diff(want, p.Config); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string][]string{"dev": {"pytest", "ruff"}, "lint": {"ruff"}}, p.Groups); d != "" {
		t.Error(d)
	}
}

// TestProfile: tables merge, lists and values replace; of a health check's two forms the later one holds.
func TestProfile(t *testing.T) {
	p, err := parse("pyproject.toml", []byte(document), "dev", []string{"env.C=\"4\"", "stop-signal=SIGQUIT", "user.gid=7"})
	if err != nil {
		t.Fatal(err)
	}
	c := p.Config
	if d := cmp.Diff(map[string]string{"A": "1", "B": "3", "C": "4"}, c.Env); d != "" {
		t.Error(d)
	}
	if !c.Staticfiles.Off || c.Healthcheck.URL == "" || c.Healthcheck.Shell != "" || c.Healthcheck.Interval != 30*time.Second || c.User.Name != "web" || c.Cmd[0] != "c" || c.StopSignal != "SIGQUIT" || c.User.GID != 7 || len(c.Groups) != 1 {
		t.Errorf("%+v", c)
	}
}

// TestSetBesideShortForms: a key below one that is written in its short form, or that has its own form.
func TestSetBesideShortForms(t *testing.T) {
	const text = "[tool.jubako]\nuser = \"web\"\nhealthcheck = { url = \"http://x/\", retries = 2 }\n"
	p, err := parse("f.toml", []byte(text), DefaultProfile, []string{"user.uid=10001", `healthcheck.timeout="2s"`})
	if err != nil {
		t.Fatal(err)
	}
	if want := (User{"web", 10001, -1}); p.Config.User != want {
		t.Errorf("%+v", p.Config.User)
	}
	if d := cmp.Diff(&Healthcheck{URL: "http://x/", Timeout: 2 * time.Second, Retries: 2}, p.Config.Healthcheck); d != "" {
		t.Error(d)
	}
	for key, want := range map[string]string{"user.uid": "--set", "user.name": "f.toml:2:1", "healthcheck.url": "f.toml:3:17", "healthcheck.retries": "f.toml:3:36", "cmd": "[tool.jubako] cmd"} {
		if got := p.Where(key); got != want {
			t.Errorf("%s stands at %s, want %s", key, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		text, set, profile string
		want               []string
	}{
		"unknown key":                       {"[tool.jubako]\nimgae = \"x\"\n", "", "", []string{"f.toml:2:1", `"imgae"`, `"image"`}},
		"unknown key in a profile's table":  {"[tool.jubako.profile.dev]\nhealthcheck = { ulr = \"x\" }\n", "", "", []string{"f.toml:2:17", "profile.dev.healthcheck.ulr", `"url"`}},
		"unknown key in a profile's user":   {"[tool.jubako]\nworkdir = \"/a\"\n[tool.jubako.profile.dev.user]\n\nuidd = 4\n", "", "", []string{"f.toml:5:1", `"uid"`}},
		"unknown key below":                 {"[tool.jubako.staticfiles]\noutptu = \"x\"\n", "", "", []string{"f.toml:2:1", `staticfiles.outptu`, `"output"`}},
		"unknown key in copy":               {"[[tool.jubako.copy]]\nfrom = \"x\"\ntoo = \"y\"\n", "", "", []string{`"to"`}},
		"unknown key in a user":             {"[tool.jubako]\nuser = { nam = \"x\" }\n", "", "", []string{`"name"`}},
		"unknown in a profile":              {"[tool.jubako.profile.dev]\ngroup = []\n", "", "", []string{`"groups"`}},
		"another letter case":               {"[tool.jubako]\nUser = \"root\"\n", "", "", []string{"f.toml:2:1", `no key "User"`, `mean "user"?`}},
		"capitals":                          {"[tool.jubako]\nCMD = [\"x\"]\n", "", "", []string{"f.toml:2:1", `mean "cmd"?`}},
		"another case of a table":           {"[tool.jubako]\nHealthcheck = { cmd = \"true\", foo = 1 }\n", "", "", []string{"f.toml:2:1", `mean "healthcheck"?`}},
		"another case below":                {"[tool.jubako.healthcheck]\ncmd = \"true\"\nTimeout = \"1s\"\n", "", "", []string{"f.toml:3:1", `"healthcheck.Timeout"`, `mean "timeout"?`}},
		"another case in copy":              {"[[tool.jubako.copy]]\nfrom = \"x\"\nTo = \"y\"\n", "", "", []string{"f.toml:3:1", `"copy.0.To"`, `mean "to"?`}},
		"another case in a step":            {"[tool.jubako]\nstep = [{ name = \"x\", Command = [\"y\"], output = \"z\" }]\n", "", "", []string{"f.toml:2:23", `"step.0.Command"`, `mean "command"?`}},
		"another case in a profile":         {"[tool.jubako.profile.dev]\nCmd = [\"dev\"]\n", "", "", []string{"f.toml:2:1", `"profile.dev.Cmd"`, `mean "cmd"?`}},
		"another case of profile":           {"[tool.jubako.Profile.dev]\ncmd = [\"dev\"]\n", "", "dev", []string{"f.toml:1:14", `mean "profile"?`}},
		"another case of jubako":            {"[tool.Jubako]\ncmd = [\"x\"]\n", "", "", []string{"f.toml: there is no table [tool.Jubako]", "mean [tool.jubako]?"}},
		"another case by --set":             {"[tool.jubako]\nuser = \"web\"\n", "User=\"root\"", "", []string{`--set: there is no key "User"`, `mean "user"?`}},
		"another case above, by --set":      {"", "Healthcheck.url=\"o\"", "", []string{`--set: there is no key "Healthcheck"`, `mean "healthcheck"?`}},
		"another case below, by --set":      {"", "staticfiles={Output=\"o\"}", "", []string{`--set: there is no key "staticfiles.Output"`, `mean "output"?`}},
		"a profile by --set":                {"", "profile.dev.cmd=[\"x\"]", "", []string{"--set: profile: a profile cannot hold profiles"}},
		"unknown by --set":                  {"", "imag=1", "", []string{"--set: there is no key", `"image"`}},
		"type by --set":                     {"", "numeric-user=3", "", []string{"--set: ", "true or false is wanted"}},
		"value by --set":                    {"[tool.jubako]\nexpose = [1]\n", "expose=[70000]", "", []string{"--set: expose"}},
		"type":                              {"[tool.jubako]\nnumeric-user = \"yes\"\n", "", "", []string{"f.toml:2:16", "true or false is wanted"}},
		"broken":                            {"[tool.jubako\n", "", "", []string{"f.toml:1"}},
		"duration":                          {"[tool.jubako]\nhealthcheck = { url = \"x\", interval = \"soon\" }\n", "", "", []string{"f.toml:2:28: healthcheck.interval", `"soon" is no duration`}},
		"two health checks":                 {"[tool.jubako]\nhealthcheck = { url = \"x\", cmd = \"y\" }\n", "", "", []string{"one of cmd and url"}},
		"port":                              {"[tool.jubako]\nexpose = [70000]\n", "", "", []string{`f.toml:2:1: expose: "70000" is no port`}},
		"workdir":                           {"[tool.jubako]\nworkdir = \"app\"\n", "", "", []string{"no absolute path"}},
		"writable":                          {"[tool.jubako]\nwritable = [\"../x\"]\n", "", "", []string{"does not lie below workdir"}},
		"owner":                             {"[tool.jubako]\nowner = \"nobody\"\n", "", "", []string{"neither root nor the user"}},
		"profile":                           {"[tool.jubako.profile.dev]\n", "", "stage", []string{`no profile "stage"`, "dev, prod"}},
		"nested profile":                    {"[tool.jubako.profile.dev.profile.x]\nimage = \"y\"\n", "", "dev", []string{"f.toml:1:26: profile.dev.profile: a profile cannot hold profiles"}},
		"nested profile of another profile": {"[tool.jubako.profile.dev.profile.x]\nimage = \"y\"\n", "", "", []string{"f.toml:1:26: profile.dev.profile: a profile cannot hold profiles"}},
		"a package's name":                  {"[tool.jubako]\npackages = [\"curl!\"]\n", "", "", []string{":2:", "curl!"}},
		"a package's version":               {"[tool.jubako]\nbuild-packages = [\"gcc=x\"]\n", "", "", []string{":2:", "begin with a digit"}},
		"a package twice":                   {"[tool.jubako]\npackages = [\"curl\", \"curl=1\"]\n", "", "", []string{":2:", "curl=1"}},
		"deb-sources":                       {"[tool.jubako]\ndeb-sources = [\"http://x y main\"]\n", "", "", []string{":2:", "deb-sources"}},
		"deb-mirror":                        {"[tool.jubako]\ndeb-mirror = \"mirror.example\"\n", "", "", []string{":2:", "no URL"}},
		"snapshot":                          {"[tool.jubako]\nsnapshot = \"yesterday\"\n", "", "", []string{":2:", "20260301T000000Z"}},
		"set without =":                     {"", "image", "", []string{"there is no ="}},
		"group cycle":                       {"[dependency-groups]\na = [{ include-group = \"b\" }]\nb = [{ include-group = \"a\" }]\n", "", "", []string{"includes itself"}},
		"type in a table":                   {"[tool.jubako.user]\nuid = \"x\"\n", "", "", []string{"f.toml:2:1", "a number is wanted"}},
		"copy":                              {"[[tool.jubako.copy]]\nfrom = \"a\"\nto = \"b\"\n[[tool.jubako.copy]]\nfrom = \"c\"\n", "", "", []string{"f.toml:4:15: copy.1: from and to"}},
	} {
		t.Run(name, func(t *testing.T) {
			var sets []string
			if tc.set != "" {
				sets = []string{tc.set}
			}
			_, err := parse("f.toml", []byte(tc.text), stdcmp.Or(tc.profile, DefaultProfile), sets)
			if err == nil || hint.KindOf(err) != hint.KindUsage {
				t.Fatalf("got %v", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error()+"\n"+hint.Of(err), w) {
					t.Errorf("%v (%s) lacks %q", err, hint.Of(err), w)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir, DefaultProfile, nil); hint.KindOf(err) != hint.KindUsage {
		t.Errorf("no pyproject.toml: %v", err)
	}
	for name, text := range map[string]string{"pyproject.toml": document, ".python-version": "# ours\n3.13.1\n3.12\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(dir, DefaultProfile, []string{`source=".."`})
	if err != nil || p.PythonVersion != "3.13.1" || p.InSource() != filepath.Base(dir) || p.ImageDir() != "/srv/app/"+filepath.Base(dir) {
		t.Errorf("%v, %+v", err, p)
	}
}

func django(manage string, more map[string]string) fstest.MapFS {
	dir := strings.TrimSuffix(manage, "manage.py")
	fsys := fstest.MapFS{
		manage:                    {Data: []byte("os.environ.setdefault(\n    'DJANGO_SETTINGS_MODULE', 'site.settings.dev')\n")},
		dir + "site/settings.py":  {Data: []byte("STATIC_ROOT = 1\n")},
		dir + "site/asgi.py":      {Data: []byte("os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"site.settings\")\napplication = x()\n")},
		dir + "site/wsgi.py":      {Data: []byte("application = x()\n")},
		dir + "other/__init__.py": {},
	}
	for n, text := range more {
		fsys[dir+n] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func set(names ...string) map[string]bool {
	s := make(map[string]bool)
	for _, n := range names {
		s[n] = true
	}
	return s
}

// TestInfer goes through the layouts that real projects have.
func TestInfer(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		fsys   fstest.MapFS
		locked map[string]bool
		want   []string
		err    string
	}{
		"at the root, uvicorn": {"", django("manage.py", nil), set("django", "uvicorn", "gunicorn"), []string{
			`using env.DJANGO_SETTINGS_MODULE = "site.settings" (the asgi or wsgi module says so)`,
			`using cmd = ["uvicorn", "site.asgi:application", "--host", "0.0.0.0", "--port", "8000"] (uvicorn is locked)`,
			"using expose = [8000] (Django's own port)", `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"in src, gunicorn": {"[tool.jubako]\nexpose = []\nenv = { PYTHONUNBUFFERED = \"0\", DJANGO_SETTINGS_MODULE = \"x\" }\n", django("src/manage.py", nil), set("django", "gunicorn"), []string{
			`using manage = "src/manage.py" (found there; commands run in its folder)`,
			`using cmd = ["gunicorn", "site.wsgi:application", "--bind", "0.0.0.0:8000"] (gunicorn is locked)`}, ""},
		"one level down": {"[tool.jubako]\ncmd = [\"x\"]\n", django("backend/manage.py", nil), set("django"), []string{
			`using manage = "backend/manage.py" (found there; commands run in its folder)`, `using env.DJANGO_SETTINGS_MODULE = "site.settings" (the asgi or wsgi module says so)`,
			"using expose = [8000] (Django's own port)", `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"Django without a server": {"", django("manage.py", nil), set("django"), nil, "does not say what the image starts"},
		"one script": {"[build-system]\n[project]\nname = \"x\"\n[project.scripts]\nrun = \"x:y\"\n", fstest.MapFS{}, set("fastapi"), []string{
			`using cmd = ["run"] (the script of [project.scripts])`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"several scripts, one of the project's name": {"[project]\nname = \"X_y\"\n[project.scripts]\nx-y = \"x:y\"\nz = \"x:z\"\n[tool.uv]\npackage = true\n", fstest.MapFS{}, nil, []string{
			`using cmd = ["x-y"] (the script of [project.scripts])`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"a script of a project that is not installed": {"[project]\nname = \"x\"\n[project.scripts]\nrun = \"x:y\"\n", fstest.MapFS{}, nil, nil, "does not say what the image starts"},
		"the server that the project names": {"[project]\nname = \"x\"\ndependencies = [\"Gunicorn>=22\"]\n[tool.jubako]\nexpose = []\n", django("manage.py", nil), set("django", "uvicorn", "gunicorn"), []string{
			`using env.DJANGO_SETTINGS_MODULE = "site.settings" (the asgi or wsgi module says so)`,
			`using cmd = ["gunicorn", "site.wsgi:application", "--bind", "0.0.0.0:8000"] (gunicorn is locked)`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"the server of a group": {"[dependency-groups]\nserve = [\"daphne\"]\n[tool.jubako]\nexpose = []\ngroups = [\"serve\"]\n", django("manage.py", nil), set("django", "uvicorn", "daphne"), []string{
			`using env.DJANGO_SETTINGS_MODULE = "site.settings" (the asgi or wsgi module says so)`,
			`using cmd = ["daphne", "-b", "0.0.0.0", "-p", "8000", "site.asgi:application"] (daphne is locked)`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"gunicorn with uvicorn's worker": {"[tool.jubako]\nexpose = []\n", django("manage.py", nil), set("django", "uvicorn", "gunicorn", "uvicorn-worker"), []string{
			`using env.DJANGO_SETTINGS_MODULE = "site.settings" (the asgi or wsgi module says so)`,
			`using cmd = ["gunicorn", "site.asgi:application", "--worker-class", "uvicorn_worker.UvicornWorker", "--bind", "0.0.0.0:8000"] (gunicorn is locked)`,
			`using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"settings deep down, an example project before it": {"[tool.jubako]\nexpose = []\n", fstest.MapFS{
			"manage.py":            {Data: []byte("# os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'demo.settings')\nos.environ[\"DJANGO_SETTINGS_MODULE\"] = \"pkg.config.settings.local\"\n")},
			"demo/wsgi.py":         {Data: []byte("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'demo.settings')\napplication = 1\n")},
			"pkg/config/wsgi.py":   {Data: []byte("os.environ.setdefault(\n    'DJANGO_SETTINGS_MODULE',\n    'pkg.config.settings.production',\n)\napplication = 1\n")},
			"pkg/config/readme.md": {},
		}, set("django", "gunicorn"), []string{
			`using env.DJANGO_SETTINGS_MODULE = "pkg.config.settings.production" (the asgi or wsgi module says so)`,
			`using cmd = ["gunicorn", "pkg.config.wsgi:application", "--bind", "0.0.0.0:8000"] (gunicorn is locked)`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"settings that are no module": {"[tool.jubako]\ncmd = [\"x\"]\nexpose = []\n", fstest.MapFS{"manage.py": {Data: []byte("setdefault('DJANGO_SETTINGS_MODULE', '..')")}}, set("django"), []string{
			`using env.DJANGO_SETTINGS_MODULE = ".." (manage.py says so)`, `using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
		"no entry point for the server": {"", fstest.MapFS{"manage.py": {}}, set("django", "uvicorn"), nil, "does not say what the image starts"},
		"manage that is not there":      {"[tool.jubako]\nmanage = \"srx/manage.py\"\n", django("src/manage.py", nil), set("django", "uvicorn"), nil, "pyproject.toml:2:1: manage: the source holds no srx/manage.py"},
		"several scripts":               {"[build-system]\n[project]\nname = \"x\"\n[project.scripts]\na = \"x:y\"\nz = \"x:z\"\n", fstest.MapFS{}, nil, nil, "does not say what the image starts"},
		"nothing":                       {"", fstest.MapFS{}, set("flask"), nil, "does not say what the image starts"},
		"an entry point alone": {"[tool.jubako]\nentrypoint = [\"/app/start\"]\n", fstest.MapFS{}, nil, []string{
			`using env.PYTHONUNBUFFERED = "1" (so that logs come at once)`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parse("pyproject.toml", []byte(tc.text), DefaultProfile, nil)
			if err != nil {
				t.Fatal(err)
			}
			said, err := p.Infer(p.Look(tc.fsys, tc.locked), tc.locked)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || hint.Of(err) == "" {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range said {
				got = append(got, s.String())
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLint(t *testing.T) {
	has := func(p string) bool { return p == "sh" }
	for name, tc := range map[string]struct {
		text    string
		more    map[string]string
		locked  map[string]bool
		profile string
		want    []string
	}{
		"nothing to say": {"", nil, set("django", "uvicorn"), "", nil},
		"settings":       {"[tool.jubako]\nenv = { DJANGO_SETTINGS_MODULE = \"site.settings.production\" }\n", nil, set("django", "uvicorn"), "", []string{"the settings module site.settings.production is not in the source"}},
		"server module":  {"[tool.jubako]\ncmd = [\"uvicorn\", \"chordify.asgi:application\"]\n", nil, set("django", "uvicorn"), "", []string{"the server's module chordify.asgi is not in the source"}},
		"server":         {"[tool.jubako]\ncmd = [\"gunicorn\", \"site.wsgi:application\"]\n", nil, set("django", "uvicorn"), "", []string{"gunicorn is not among the packages"}},
		"STATIC_ROOT":    {"", map[string]string{"site/settings.py": "DEBUG = False\n"}, set("django", "uvicorn"), "", []string{"STATIC_ROOT is not set"}},
		"STATIC_ROOT in what is imported": {"", map[string]string{"site/settings.py": "from .base import *\n", "site/base.py": "STATIC_ROOT = 1\n"},
			set("django", "uvicorn"), "", nil},
		"curl":          {"[tool.jubako]\nhealthcheck = { cmd = \"curl -f http://localhost/\" }\n", nil, set("django", "uvicorn"), "", []string{"the image has no curl"}},
		"sh":            {"[tool.jubako]\nhealthcheck = { cmd = [\"sh\", \"-c\", \"true\"] }\n", nil, set("django", "uvicorn"), "", nil},
		"group in dev":  {"[tool.jubako]\ngroups = [\"dev\"]\n", nil, set("django", "uvicorn"), "dev", nil},
		"group in prod": {"[tool.jubako]\ngroups = [\"dev\"]\n", nil, set("django", "uvicorn"), "", []string{`the group "dev" goes into the production image`}},
		"debug toolbar": {"", map[string]string{"site/settings.py": "STATIC_ROOT = 1\nINSTALLED_APPS = [\n    \"debug_toolbar\",\n]\n"}, set("django", "uvicorn"), "",
			[]string{"debug_toolbar is named, and django-debug-toolbar is not among the packages"}},
		"debug toolbar, guarded": {"", map[string]string{"site/settings.py": "STATIC_ROOT = 1\nif DEBUG:\n    INSTALLED_APPS += [\n        \"debug_toolbar\",\n    ]\n"},
			set("django", "uvicorn"), "", nil},
		"debug toolbar, under elif": {"", map[string]string{"site/settings.py": "STATIC_ROOT = 1\nif x:\n    pass\nelif DEBUG:\n    INSTALLED_APPS += [\n        \"debug_toolbar\",\n    ]\n"},
			set("django", "uvicorn"), "", nil},
		"secret":                         {"[tool.jubako]\nenv = { SECRET_KEY = \"x\", TOKEN_URL = \"http://x/\", PASSWORD_RESET_TIMEOUT = \"3\" }\n", nil, set("django", "uvicorn"), "", []string{"pyproject.toml:2:9: SECRET_KEY stands in the image"}},
		"password in a URL":              {"[tool.jubako]\nenv = { DATABASE_URL = \"postgres://app:pw@db/app\", CACHE_URL = \"redis://cache:6379/1\" }\n", nil, set("django", "uvicorn"), "", []string{"pyproject.toml:2:9: DATABASE_URL stands"}},
		"STATIC_ROOT in a comment":       {"", map[string]string{"site/settings.py": "# STATIC_ROOT = 1\n"}, set("django", "uvicorn"), "", []string{"site/settings.py: STATIC_ROOT is not set"}},
		"settings put together":          {"", map[string]string{"site/settings.py": "from split_settings.tools import include\ninclude('base.py')\n"}, set("django", "uvicorn"), "", nil},
		"settings by importlib":          {"", map[string]string{"site/settings.py": "import importlib\n"}, set("django", "uvicorn"), "", nil},
		"settings of a class":            {"", map[string]string{"site/settings.py": "class Production(Configuration):\n    pass\n"}, set("django", "uvicorn"), "", nil},
		"settings by globals":            {"", map[string]string{"site/settings.py": "globals().update(x)\n"}, set("django", "uvicorn"), "", nil},
		"put together in a comment":      {"", map[string]string{"site/settings.py": "# globals(), importlib\n"}, set("django", "uvicorn"), "", []string{"STATIC_ROOT is not set"}},
		"import under an if":             {"", map[string]string{"site/settings.py": "if x:\n\tfrom .local import *\n", "site/local.py": ""}, set("django", "uvicorn"), "", nil},
		"import after an empty line":     {"", map[string]string{"site/settings.py": "x = 1\n\nfrom .base import *\n", "site/base.py": ""}, set("django", "uvicorn"), "", []string{"STATIC_ROOT is not set"}},
		"settings of another package":    {"", map[string]string{"site/settings.py": "from shared.settings import *\n"}, set("django", "uvicorn"), "", nil},
		"module of an installed package": {"[tool.jubako]\ncmd = [\"uvicorn\", \"wagtail_site.asgi:application\"]\n", nil, set("django", "uvicorn", "wagtail-site"), "", nil},
		"module below src":               {"[tool.jubako]\ncmd = [\"uvicorn\", \"shop.api:app\"]\n", map[string]string{"src/shop/api.py": ""}, set("django", "uvicorn"), "", nil},
		"a socket is no module":          {"[tool.jubako]\ncmd = [\"gunicorn\", \"--bind\", \"unix:gunicorn.sock\", \"site.wsgi\"]\n", nil, set("django", "gunicorn"), "", nil},
		"development's settings": {"[tool.jubako]\nenv = { DJANGO_SETTINGS_MODULE = \"site.conf.local\" }\n",
			map[string]string{"site/conf/local.py": "STATIC_ROOT = 1\n", "site/conf/production.py": ""}, set("django", "uvicorn"), "", []string{"pyproject.toml:2:9: the image would run with site.conf.local, and the source holds site.conf.production"}},
		"development's settings in dev": {"[tool.jubako]\nenv = { DJANGO_SETTINGS_MODULE = \"site.conf.local\" }\n",
			map[string]string{"site/conf/local.py": "STATIC_ROOT = 1\n", "site/conf/production.py": ""}, set("django", "uvicorn"), "dev", nil},
		"curl later on": {"[tool.jubako]\nhealthcheck = { cmd = \"test -e /tmp/x && PORT=1 exec /usr/bin/curl -f http://localhost/ || exit 1\" }\n", nil, set("django", "uvicorn"), "", []string{"pyproject.toml:2:1: the image has no curl"}},
		"wget in sh -c": {"[tool.jubako]\nhealthcheck = { cmd = [\"sh\", \"-c\", \"wget -q -O- http://localhost/\"] }\n", nil, set("django", "uvicorn"), "", []string{"the image has no wget"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parse("pyproject.toml", []byte(tc.text), DefaultProfile, nil)
			if err != nil {
				t.Fatal(err)
			}
			fsys := django("manage.py", tc.more)
			l := p.Look(fsys, tc.locked)
			if _, err := p.Infer(l, tc.locked); err != nil {
				t.Fatal(err)
			}
			got := p.Lint(LintInput{Source: fsys, Layout: l, Locked: tc.locked, Profile: stdcmp.Or(tc.profile, DefaultProfile), HasProgram: has})
			var lines []string
			for _, f := range got {
				lines = append(lines, f.String())
			}
			if len(got) != len(tc.want) {
				t.Fatalf("%q", lines)
			}
			for i, w := range tc.want {
				if !strings.Contains(lines[i], w) || got[i].Remedy == "" {
					t.Errorf("%q lacks %q", lines[i], w)
				}
			}
		})
	}
}

func TestHealthcheck(t *testing.T) {
	for want, h := range map[string]Healthcheck{
		"CMD|python|-I|-c|" + askHealth + "|http://localhost:8000/health/|1.5": {URL: "http://localhost:8000/health/", Timeout: 1500 * time.Millisecond},
		"CMD|python|-I|-c|" + askHealth + "|http://localhost/|30":              {URL: "http://localhost/"},
		"CMD-SHELL|curl -f x || exit 1":                                        {Shell: "curl -f x || exit 1"},
		"CMD|pg_isready|-q":                                                    {Cmd: []string{"pg_isready", "-q"}},
	} {
		if got := strings.Join(h.Test(), "|"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestAskHealth runs the health check's program, where there is a Python, against services in each condition.
func TestAskHealth(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 on this machine; the e2e tests run it in the image")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("Location", "https://localhost:1/")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	for path, want := range map[string]string{"/200": "", "/204": "", "/301": "", "/302": "", "/400": "HTTP Error 400", "/404": "HTTP Error 404", "/503": "HTTP Error 503"} {
		h := Healthcheck{URL: srv.URL + path, Timeout: 5 * time.Second}
		cmd := exec.Command(python, h.Test()[2:]...)
		cmd.Env = []string{"http_proxy=http://127.0.0.1:1/"}
		out, err := cmd.CombinedOutput()
		if ok := err == nil; ok != (want == "") || !strings.Contains(string(out), want) || strings.Contains(string(out), "Traceback") {
			t.Errorf("%s: %v, %s", path, err, out)
		}
	}
	srv.Close()
	out, err := exec.Command(python, (&Healthcheck{URL: srv.URL, Timeout: time.Second}).Test()[2:]...).CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("nobody listens, and the check says %v, %s", err, out)
	}
}

// FuzzPyproject: any file gives a configuration or an error of usage.
func FuzzPyproject(f *testing.F) {
	f.Add(document, "env.A=\"x\"")
	f.Add("[tool.jubako]\nhealthcheck = 3\nuser = [1]\nstaticfiles = \"x\"\n", "a=b")
	f.Fuzz(func(t *testing.T, text, set string) {
		p, err := parse("pyproject.toml", []byte(text), DefaultProfile, []string{set})
		if err != nil {
			return
		}
		if !filepath.IsAbs(p.Config.Workdir) || strings.HasPrefix(filepath.Clean(p.Config.Venv), "..") {
			t.Errorf("%+v", p.Config)
		}
		_, _ = p.Infer(p.Look(fstest.MapFS{}, nil), nil)
	})
}
