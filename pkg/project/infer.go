package project

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// Inference is a value that the configuration does not have and the project shows.
type Inference struct {
	Key    string // as in [tool.jubako]
	Value  string // in TOML
	Reason string
}

func (i Inference) String() string {
	return fmt.Sprintf("using %s = %s (%s)", i.Key, i.Value, i.Reason)
}

// Layout is how the project lies in its source.
type Layout struct {
	Django bool
	// Manage is the folder of manage.py relative to the source, "." at its root, and "" where there is none.
	Manage string
	// Settings is the settings module that manage.py names; Server the one that the server's module names.
	Settings, ServerSettings string
	// ASGI and WSGI are the modules of the server's entry points: "mysite.asgi"; "" where there are none.
	ASGI, WSGI string
}

// maxSource bounds a source file that is looked at, in bytes.
const maxSource = 1 << 20

var (
	settingsRE    = regexp.MustCompile(`setdefault\(\s*["']DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z0-9_.]+)["']`)
	applicationRE = regexp.MustCompile(`(?m)^application\s*[=:]`)
)

// Look finds out how the project lies in its source. source is the source folder; locked says which packages are
// installed, by their normalized names.
func (p *Project) Look(source fs.FS, locked map[string]bool) Layout {
	l := Layout{}
	l.Manage = p.findManage(source)
	l.Django = locked["django"] && l.Manage != ""
	if !l.Django {
		return l
	}
	l.Settings = firstGroup(settingsRE, read(source, path.Join(l.Manage, manageName(p.Config.Manage))))
	entries, err := fs.ReadDir(source, l.Manage)
	if err != nil {
		return l
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for _, x := range []struct {
			file string
			to   *string
		}{{"asgi", &l.ASGI}, {"wsgi", &l.WSGI}} {
			b := read(source, path.Join(l.Manage, e.Name(), x.file+".py"))
			if *x.to == "" && applicationRE.Match(b) {
				*x.to = e.Name() + "." + x.file
				if s := firstGroup(settingsRE, b); s != "" && l.ServerSettings == "" {
					l.ServerSettings = s
				}
			}
		}
	}
	return l
}

func manageName(manage string) string {
	if manage == "" {
		return "manage.py"
	}
	return path.Base(manage)
}

// findManage looks for manage.py: where the configuration says, at the source's root, beside pyproject.toml, in src, and
// one level down.
func (p *Project) findManage(source fs.FS) string {
	exists := func(f string) bool { fi, err := fs.Stat(source, f); return err == nil && !fi.IsDir() }
	if m := p.Config.Manage; m != "" {
		if exists(path.Clean(m)) {
			return path.Dir(path.Clean(m))
		}
		return ""
	}
	candidates := []string{p.InSource(), ".", path.Join(p.InSource(), "src"), "src"}
	if entries, err := fs.ReadDir(source, p.InSource()); err == nil {
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				candidates = append(candidates, path.Join(p.InSource(), e.Name()))
			}
		}
	}
	for _, dir := range candidates {
		if exists(path.Join(dir, "manage.py")) {
			return dir
		}
	}
	return ""
}

func read(source fs.FS, name string) []byte {
	f, err := source.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() > maxSource {
		return nil
	}
	b, err := fs.ReadFile(source, name)
	if err != nil {
		return nil
	}
	return b
}

func firstGroup(re *regexp.Regexp, b []byte) string {
	if m := re.FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return ""
}

// server is a program that serves an application.
type server struct {
	dist string // the package, by its normalized name
	asgi bool
	cmd  func(app string) []string
}

// servers in the order in which one is taken where several are locked.
var servers = []server{
	{"uvicorn", true, func(app string) []string { return []string{"uvicorn", app, "--host", "0.0.0.0", "--port", "8000"} }},
	{"daphne", true, func(app string) []string { return []string{"daphne", "-b", "0.0.0.0", "-p", "8000", app} }},
	{"hypercorn", true, func(app string) []string { return []string{"hypercorn", "--bind", "0.0.0.0:8000", app} }},
	{"granian", true, func(app string) []string {
		return []string{"granian", "--interface", "asgi", "--host", "0.0.0.0", "--port", "8000", app}
	}},
	{"gunicorn", false, func(app string) []string { return []string{"gunicorn", app, "--bind", "0.0.0.0:8000"} }},
	{"waitress", false, func(app string) []string { return []string{"waitress-serve", "--listen=0.0.0.0:8000", app} }},
	{"granian", false, func(app string) []string {
		return []string{"granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", app}
	}},
}

// Infer fills in what the configuration leaves out, and says what it has filled in.
func (p *Project) Infer(l Layout, locked map[string]bool) ([]Inference, error) {
	var said []Inference
	c := p.Config
	say := func(key, value, reason string) { said = append(said, Inference{key, value, reason}) }
	if l.Django {
		if c.Manage == "" && l.Manage != "." {
			c.Manage = path.Join(l.Manage, "manage.py")
			say("manage", fmt.Sprintf("%q", c.Manage), "found there; commands run in its folder")
		}
		settings, from := l.Settings, "manage.py"
		if l.ServerSettings != "" {
			settings, from = l.ServerSettings, "the asgi or wsgi module"
		}
		if _, ok := c.Env["DJANGO_SETTINGS_MODULE"]; !ok && settings != "" {
			c.Env["DJANGO_SETTINGS_MODULE"] = settings
			say("env.DJANGO_SETTINGS_MODULE", fmt.Sprintf("%q", settings), from+" says so")
		}
	}
	if len(c.Cmd) == 0 && c.Entrypoint == nil {
		cmd, reason, err := p.inferCmd(l, locked)
		if err != nil {
			return nil, err
		}
		c.Cmd = cmd
		say("cmd", tomlList(cmd), reason)
	}
	if l.Django && c.Expose == nil {
		c.Expose = []string{"8000/tcp"}
		say("expose", "[8000]", "Django's own port")
	}
	if _, ok := c.Env["PYTHONUNBUFFERED"]; !ok {
		c.Env["PYTHONUNBUFFERED"] = "1"
		say("env.PYTHONUNBUFFERED", `"1"`, "so that logs come at once")
	}
	return said, nil
}

// inferCmd chooses what the image starts: a locked server for Django, else the project's one script.
func (p *Project) inferCmd(l Layout, locked map[string]bool) ([]string, string, error) {
	if l.Django {
		for _, s := range servers {
			app := l.WSGI
			if s.asgi {
				app = l.ASGI
			}
			if locked[s.dist] && app != "" {
				return s.cmd(app + ":application"), s.dist + " is locked", nil
			}
		}
	}
	for name := range p.Scripts {
		if len(p.Scripts) == 1 || name == p.Name {
			return []string{name}, "the script of [project.scripts]", nil
		}
	}
	err := fmt.Errorf("%s does not say what the image starts, and nothing in the project tells", p.File)
	switch {
	case l.Django:
		return nil, "", hint.Wrap(hint.Usage(err), `no ASGI or WSGI server is locked: uv add uvicorn, or write cmd = ["…"] under [tool.jubako]`)
	case len(p.Scripts) > 1:
		var names []string
		for n := range p.Scripts {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, "", hint.Wrap(hint.Usage(err), `write cmd = ["…"] under [tool.jubako]; [project.scripts] has %s`, strings.Join(names, ", "))
	default:
		return nil, "", hint.Wrap(hint.Usage(err), `write under [tool.jubako], say: cmd = ["uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]`)
	}
}

func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// ManageDir is the folder of manage.py in the image, absolute; the working folder where there is none.
func (c *Config) ManageDir() string {
	if c.Manage == "" {
		return c.Workdir
	}
	return path.Join(c.Workdir, path.Dir(path.Clean(c.Manage)))
}

// healthTimeout is how long Python waits for an answer where the configuration names no timeout, in seconds.
const healthTimeout = 5

// Test gives the health check as the image's config holds it (Docker's Healthcheck.Test).
func (h *Healthcheck) Test() []string {
	switch {
	case h.URL != "":
		secs := float64(healthTimeout)
		if h.Timeout > 0 {
			secs = h.Timeout.Seconds()
		}
		// urlopen raises for every status from 400 on, and Python then ends with 1.
		code := fmt.Sprintf("import urllib.request; urllib.request.urlopen(%q, timeout=%g)", h.URL, secs)
		return []string{"CMD", "python", "-c", code}
	case h.Shell != "":
		return []string{"CMD-SHELL", h.Shell}
	default:
		return append([]string{"CMD"}, h.Cmd...)
	}
}
