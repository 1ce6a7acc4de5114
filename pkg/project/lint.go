package project

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Finding is something that is probably not as it was meant, found before anything is built or pushed.
type Finding struct {
	Where   string // "bento/settings/production.py:12", "[tool.jubako] cmd"
	Message string
	Remedy  string
}

func (f Finding) String() string {
	s := f.Where + ": " + f.Message
	if f.Remedy != "" {
		s += " (" + f.Remedy + ")"
	}
	return s
}

// LintInput is what the findings are drawn from, beside the project itself.
type LintInput struct {
	Source  fs.FS
	Layout  Layout
	Locked  map[string]bool // packages that are installed, by their normalized names
	Profile string
	// HasProgram says whether the base has a program on its PATH.
	HasProgram func(name string) bool
}

// Lint looks for the mistakes that images of Python projects have most often. Inferences must have been made.
func (p *Project) Lint(in LintInput) []Finding {
	var all []Finding
	all = append(all, p.lintModules(in)...)
	all = append(all, p.lintSettings(in)...)
	all = append(all, p.lintHealthcheck(in)...)
	all = append(all, p.lintServer(in)...)
	all = append(all, p.lintGroups(in)...)
	return append(all, p.lintSecrets()...)
}

var appRE = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_.]*(\(\))?$`)

// lintModules finds modules that are named and that the source does not hold.
func (p *Project) lintModules(in LintInput) []Finding {
	var all []Finding
	dir := "."
	if in.Layout.Manage != "" {
		dir = in.Layout.Manage
	}
	missing := func(module, where, what string) {
		if in.moduleFile(dir, module) == "" {
			all = append(all, Finding{where, fmt.Sprintf("the %s %s is not in the source", what, module), "correct its name"})
		}
	}
	if m := p.Config.Env["DJANGO_SETTINGS_MODULE"]; m != "" && in.Layout.Django {
		missing(m, "[tool.jubako] env", "settings module")
	}
	for _, arg := range p.Config.Cmd {
		if m := appRE.FindStringSubmatch(arg); m != nil && !strings.Contains(arg, "//") {
			missing(m[1], "[tool.jubako] cmd", "server's module")
			break
		}
	}
	return all
}

// moduleFile finds a module's file in the source, from a folder; "" where it is not. A module whose top package the source
// does not hold at all may be an installed one.
func (in LintInput) moduleFile(dir, module string) string {
	base := path.Join(dir, strings.ReplaceAll(module, ".", "/"))
	for _, f := range []string{base + ".py", base + "/__init__.py"} {
		if _, err := fs.Stat(in.Source, f); err == nil {
			return f
		}
	}
	return ""
}

// settingsFiles gives the settings module's file, and those that it imports everything from, nearest first.
func (p *Project) settingsFiles(in LintInput) []string {
	module := p.Config.Env["DJANGO_SETTINGS_MODULE"]
	var files []string
	for module != "" && len(files) < 10 {
		f := in.moduleFile(in.Layout.Manage, module)
		if f == "" || slices.Contains(files, f) {
			break
		}
		files = append(files, f)
		module = starImport(read(in.Source, f), module, strings.HasSuffix(f, "/__init__.py"))
	}
	return files
}

var starRE = regexp.MustCompile(`(?m)^from\s+(\.*)([A-Za-z0-9_.]*)\s+import\s+\*`)

// starImport gives the module of the first `from X import *`, absolute.
func starImport(b []byte, module string, isPackage bool) string {
	m := starRE.FindSubmatch(b)
	if m == nil {
		return ""
	}
	dots, name := len(m[1]), string(m[2])
	if dots == 0 {
		return name
	}
	parts := strings.Split(module, ".")
	if isPackage {
		dots--
	}
	if dots > len(parts) {
		return ""
	}
	return strings.Trim(strings.Join(append(parts[:len(parts)-dots:len(parts)-dots], name), "."), ".")
}

// debugOnly are applications and middleware that belong to development, and the packages that bring them.
var debugOnly = map[string]string{
	"debug_toolbar": "django-debug-toolbar", "django_extensions": "django-extensions", "django_browser_reload": "django-browser-reload",
	"silk": "django-silk", "nplusone": "nplusone", "livereload": "django-livereload-server", "drf_yasg": "drf-yasg",
}

var quotedRE = regexp.MustCompile(`["']([a-z_][a-z0-9_]*)(\.[A-Za-z0-9_.]+)?["']`)

// lintSettings reads the settings' text: STATIC_ROOT, and applications that are not installed.
func (p *Project) lintSettings(in LintInput) []Finding {
	if !in.Layout.Django {
		return nil
	}
	var all []Finding
	files := p.settingsFiles(in)
	hasRoot := false
	for _, f := range files {
		b := read(in.Source, f)
		hasRoot = hasRoot || bytes.Contains(b, []byte("STATIC_ROOT"))
		n := 0
		for line := range bytes.Lines(b) {
			n++
			text := string(line)
			// What is indented stands under an if, most often `if DEBUG:`; a list's items are indented too.
			if strings.HasPrefix(strings.TrimSpace(text), "#") || strings.Contains(text, " if ") {
				continue
			}
			for _, m := range quotedRE.FindAllStringSubmatch(text, -1) {
				if dist := debugOnly[m[1]]; dist != "" && !in.Locked[dist] && !guarded(b, n) {
					all = append(all, Finding{fmt.Sprintf("%s:%d", f, n), fmt.Sprintf("%s is named, and %s is not among the packages", m[1], dist),
						"name it under `if DEBUG:` or in the development settings only, or depend on it"})
				}
			}
		}
	}
	if len(files) > 0 && !hasRoot && !p.Config.Staticfiles.Off && p.Config.Staticfiles.Output == "" {
		all = append(all, Finding{files[0], "STATIC_ROOT is not set, so collectstatic has no place to write to",
			`set STATIC_ROOT = BASE_DIR / "staticfiles", or leave the step out: [tool.jubako] staticfiles = false`})
	}
	return all
}

// guarded says whether a line stands below an if of a lesser indentation.
func guarded(b []byte, line int) bool {
	lines := strings.Split(string(b), "\n")
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }
	at := indent(lines[line-1])
	for i := line - 2; i >= 0 && at > 0; i-- {
		text := strings.TrimSpace(lines[i])
		if text == "" || indent(lines[i]) >= at {
			continue
		}
		if strings.HasPrefix(text, "if ") || strings.HasPrefix(text, "else") || strings.HasPrefix(text, "try") || strings.HasPrefix(text, "with ") {
			return true
		}
		at = indent(lines[i])
	}
	return false
}

// lintHealthcheck finds a health check whose program the image lacks.
func (p *Project) lintHealthcheck(in LintInput) []Finding {
	h := p.Config.Healthcheck
	if h == nil || h.URL != "" || in.HasProgram == nil {
		return nil
	}
	words := h.Cmd
	if h.Shell != "" {
		words = strings.Fields(h.Shell)
	}
	if len(words) == 0 {
		return nil
	}
	program := words[0]
	if strings.HasPrefix(program, "python") || in.HasProgram(program) || h.Shell != "" && !plainWord.MatchString(program) {
		return nil
	}
	switch program {
	case "curl", "wget", "nc", "pg_isready", "redis-cli", "http":
		return []Finding{{"[tool.jubako] healthcheck", fmt.Sprintf("the image has no %s: the container would be unhealthy for ever", program),
			`ask with Python: healthcheck = { url = "http://localhost:8000/…" }`}}
	}
	return nil
}

var plainWord = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// serverDists leads from the programs that serve to the packages that bring them.
var serverDists = map[string]string{
	"uvicorn": "uvicorn", "gunicorn": "gunicorn", "daphne": "daphne", "hypercorn": "hypercorn", "granian": "granian",
	"waitress-serve": "waitress", "uwsgi": "uwsgi", "celery": "celery", "flask": "flask", "fastapi": "fastapi",
}

// lintServer finds a server that is not installed.
func (p *Project) lintServer(in LintInput) []Finding {
	if len(p.Config.Cmd) == 0 {
		return nil
	}
	program := path.Base(p.Config.Cmd[0])
	dist := serverDists[program]
	if dist == "" || in.Locked[dist] || program == "uwsgi" && in.Locked["pyuwsgi"] {
		return nil
	}
	return []Finding{{"[tool.jubako] cmd", fmt.Sprintf("%s is not among the packages", dist), "uv add " + dist}}
}

// devGroups are names of dependency groups that are for developers.
var devGroups = []string{"dev", "test", "tests", "testing", "lint", "docs", "typing", "debug"}

// lintGroups finds a development group in the production image.
func (p *Project) lintGroups(in LintInput) []Finding {
	if in.Profile != DefaultProfile {
		return nil
	}
	var all []Finding
	for _, g := range p.Config.Groups {
		if slices.Contains(devGroups, g) {
			all = append(all, Finding{"[tool.jubako] groups", fmt.Sprintf("the group %q goes into the production image", g), "leave it to a profile: [tool.jubako.profile.dev] groups = [\"" + g + "\"]"})
		}
	}
	return all
}

var secretRE = regexp.MustCompile(`(?i)(^|_)(secret|secret_key|password|passwd|token|api_key|private_key)$`)

// lintSecrets finds values in the image's environment that look secret: everybody who can pull the image reads them.
func (p *Project) lintSecrets() []Finding {
	var all []Finding
	for _, name := range slices.Sorted(maps.Keys(p.Config.Env)) {
		if secretRE.MatchString(name) && p.Config.Env[name] != "" {
			all = append(all, Finding{"[tool.jubako] env", fmt.Sprintf("%s stands in the image, where everybody who pulls it can read it", name),
				"give it when the container starts; what collectstatic alone needs goes under [tool.jubako.staticfiles] env"})
		}
	}
	return all
}
