package project

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
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

// settingsVar is the variable that names the settings to Django.
const settingsVar = "DJANGO_SETTINGS_MODULE"

// maxSource bounds a source file that is looked at, in bytes.
const maxSource = 1 << 20

var (
	// os.environ.setdefault("DJANGO_SETTINGS_MODULE", "…"), environ.get with the same, or an assignment.
	settingsRE    = lazyre.New(`(?m)^[^#\n]*\[?["']DJANGO_SETTINGS_MODULE["'](?:\]\s*=|\s*,)\s*["']([A-Za-z0-9_.]+)["']`)
	applicationRE = lazyre.New(`(?m)^application\s*[=:]`)
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
	l.Settings = firstGroup(settingsRE(), read(source, path.Join(l.Manage, manageName(p.Config.Manage))))
	for _, pkg := range packagesAround(source, l.Manage, l.Settings) {
		for _, x := range []struct {
			file string
			to   *string
		}{{"asgi", &l.ASGI}, {"wsgi", &l.WSGI}} {
			b := read(source, path.Join(l.Manage, pkg, x.file+".py"))
			if *x.to != "" || !applicationRE().Match(b) {
				continue
			}
			*x.to = strings.ReplaceAll(path.Join(pkg, x.file), "/", ".")
			if s := firstGroup(settingsRE(), b); s != "" && l.ServerSettings == "" {
				l.ServerSettings = s
			}
		}
	}
	return l
}

// packagesAround gives the folders where a project keeps asgi.py and wsgi.py, relative to manage.py's: those that hold the
// settings, from within, then the others one level down.
func packagesAround(source fs.FS, manage, settings string) []string {
	var list []string
	for dir := path.Dir(strings.ReplaceAll(settings, ".", "/")); dir != "." && dir != "/"; dir = path.Dir(dir) {
		list = append(list, dir)
	}
	entries, err := fs.ReadDir(source, manage)
	if err != nil {
		return list
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(list, e.Name()) {
			list = append(list, e.Name())
		}
	}
	return append(list, ".")
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
	b, err := io.ReadAll(f)
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

// Infer fills in what the configuration leaves out, and says what it has filled in.
func (p *Project) Infer(l Layout, locked map[string]bool) ([]Inference, error) {
	var said []Inference
	c := p.Config
	say := func(key, value, reason string) { said = append(said, Inference{key, value, reason}) }
	if c.Manage != "" && l.Manage == "" {
		return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s: manage: the source holds no %s", p.Where("manage"), c.Manage)),
			"name it relative to the source, which is %s", p.SourceDir())
	}
	if l.Django {
		if c.Manage == "" && l.Manage != "." {
			c.Manage = path.Join(l.Manage, "manage.py")
			say("manage", fmt.Sprintf("%q", c.Manage), "found there; commands run in its folder")
		}
		settings, from := l.Settings, "manage.py"
		if l.ServerSettings != "" {
			settings, from = l.ServerSettings, "the asgi or wsgi module"
		}
		if _, ok := c.Env[settingsVar]; !ok && settings != "" {
			c.Env[settingsVar] = settings
			say("env."+settingsVar, fmt.Sprintf("%q", settings), from+" says so")
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
