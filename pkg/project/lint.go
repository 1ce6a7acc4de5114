package project

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/pep508"
)

// Finding is something that is probably not as it was meant, found before anything is built or pushed.
type Finding struct {
	Where   string // "bento/settings/production.py:12", "pyproject.toml:30:1", "[tool.jubako] cmd" where it is inferred
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

var appRE = lazyre.New(`^([A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_.]*(\(\))?$`)

// lintModules finds modules that are named and that the source does not hold.
func (p *Project) lintModules(in LintInput) []Finding {
	var all []Finding
	missing := func(module, key, what string) {
		if p.moduleFile(in, module) == "" && !installed(in.Locked, module) {
			all = append(all, Finding{p.Where(key), fmt.Sprintf("the %s %s is not in the source", what, module), "correct its name"})
		}
	}
	if m := p.Config.Env[settingsVar]; m != "" && in.Layout.Django {
		missing(m, "env."+settingsVar, "settings module")
		all = append(all, p.lintDevSettings(in, m)...)
	}
	if len(p.Config.Cmd) > 0 && serverDists[path.Base(p.Config.Cmd[0])] != "" {
		for _, arg := range p.Config.Cmd[1:] {
			m := appRE().FindStringSubmatch(arg)
			if m == nil || m[1] == "unix" || m[1] == "wsgi" || m[1] == "asgi" { // a socket, hypercorn's word for a protocol
				continue
			}
			missing(m[1], "cmd", "server's module")
			break
		}
	}
	return all
}

// lintDevSettings finds a production image with the settings of development while the project has better ones: manage.py
// most often names those that its authors work with.
func (p *Project) lintDevSettings(in LintInput, module string) []Finding {
	pkg, last, ok := cutLast(module, ".")
	if !ok || in.Profile != DefaultProfile || !slices.Contains([]string{"local", "dev", "develop", "development", "debug"}, last) {
		return nil
	}
	for _, name := range []string{"production", "prod"} {
		if better := pkg + "." + name; p.moduleFile(in, better) != "" {
			return []Finding{{p.Where("env." + settingsVar), fmt.Sprintf("the image would run with %s, and the source holds %s", module, better),
				fmt.Sprintf("[tool.jubako] env = { %s = %q }", settingsVar, better)}}
		}
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// moduleFile finds a module's file in the source, in the folders that Python would look in; "" where it is not.
func (p *Project) moduleFile(in LintInput, module string) string {
	dirs := []string{in.Layout.Manage, p.InSource(), path.Join(p.InSource(), "src"), ".", "src"}
	for _, dir := range dirs {
		base := path.Join(dir, strings.ReplaceAll(module, ".", "/"))
		for _, f := range []string{base + ".py", base + "/__init__.py"} {
			if _, err := fs.Stat(in.Source, f); err == nil {
				return f
			}
		}
	}
	return ""
}

// installed says whether a package of the name of the module's own is installed. It is a guess, and errs on the side of
// silence.
func installed(locked map[string]bool, module string) bool {
	top, _, _ := strings.Cut(module, ".")
	name := pep508.Normalize(top)
	return locked[name] || locked["django-"+name] || locked["python-"+name]
}

// settingsFile is a file of the settings.
type settingsFile struct {
	name string
	text []byte
}

// settingsFiles gives the settings module's file, and those that it imports everything from, nearest first. whole says
// that no other file can add to them.
func (p *Project) settingsFiles(in LintInput) (files []settingsFile, whole bool) {
	module := p.Config.Env[settingsVar]
	whole = true
	for module != "" && len(files) < 10 {
		f := p.moduleFile(in, module)
		if f == "" {
			return files, false
		}
		if slices.ContainsFunc(files, func(had settingsFile) bool { return had.name == f }) {
			break
		}
		b := read(in.Source, f)
		files = append(files, settingsFile{f, b})
		whole = whole && len(starRE().FindAll(b, 2)) < 2 && !dynamic(b)
		module = starImport(b, module, strings.HasSuffix(f, "/__init__.py"))
	}
	return files, whole && module == ""
}

// dynamic says whether settings are put together in ways that their text does not show: split_settings, dynaconf,
// configurations, a loop over modules, an import under an if.
func dynamic(b []byte) bool {
	// Most settings have none of the words, and the expression is slow.
	word := func(sign string) bool { return bytes.Contains(b, []byte(plainSign.Replace(sign))) }
	return slices.ContainsFunc(dynamicSigns, word) && dynamicRE().Match(b) || indentedStarRE().Match(b)
}

// dynamicSigns are expressions for it, outside of comments, that are words but for what plainSign takes away.
var dynamicSigns = []string{`\binclude\(`, `\bexec\(`, `importlib`, `__import__`, `\bglobals\(\)`, `locals\(\)`, `dynaconf`, `DjangoDynaconf`, `\bConfiguration\b`}

var (
	plainSign = strings.NewReplacer(`\b`, "", `\`, "")
	dynamicRE = lazyre.New(`(?m)^[^#\n]*(` + strings.Join(dynamicSigns, "|") + `)`)
)

var indentedStarRE = lazyre.New(`(?m)^[ \t]+from[ \t]+\S+[ \t]+import[ \t]+\*`)

var staticRootRE = lazyre.New(`(?m)^[^#\n]*\bSTATIC_ROOT\b`)

var starRE = lazyre.New(`(?m)^from\s+(\.*)([A-Za-z0-9_.]*)\s+import\s+\*`)

// starImport gives the module of the first `from X import *`, absolute.
func starImport(b []byte, module string, isPackage bool) string {
	m := starRE().FindSubmatch(b)
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
	"django_watchfiles": "django-watchfiles", "sslserver": "django-sslserver", "querycount": "django-querycount", "pyinstrument": "pyinstrument",
}

// namesDebugOnly says whether one of them may be named: most settings have no such word in them.
func namesDebugOnly(b []byte) bool {
	for module := range debugOnly {
		if bytes.Contains(b, []byte(module)) {
			return true
		}
	}
	return false
}

var quotedRE = lazyre.New(`["']([a-z_][a-z0-9_]*)(\.[A-Za-z0-9_.]+)?["']`)

// lintSettings reads the settings' text: STATIC_ROOT, and applications that are not installed.
func (p *Project) lintSettings(in LintInput) []Finding {
	if !in.Layout.Django {
		return nil
	}
	var all []Finding
	files, whole := p.settingsFiles(in)
	hasRoot := false
	for _, f := range files {
		hasRoot = hasRoot || staticRootRE().Match(f.text)
		if !namesDebugOnly(f.text) {
			continue
		}
		lines := strings.Split(string(f.text), "\n")
		for i, text := range lines {
			n := i + 1
			// What is indented stands under an if, most often `if DEBUG:`; a list's items are indented too.
			if strings.HasPrefix(strings.TrimSpace(text), "#") || strings.Contains(text, " if ") {
				continue
			}
			for _, m := range quotedRE().FindAllStringSubmatch(text, -1) {
				if dist := debugOnly[m[1]]; dist != "" && !in.Locked[dist] && !guarded(lines, n) {
					all = append(all, Finding{fmt.Sprintf("%s:%d", f.name, n), fmt.Sprintf("%s is named, and %s is not among the packages", m[1], dist),
						"name it under `if DEBUG:` or in the development settings only, or depend on it"})
				}
			}
		}
	}
	if len(files) > 0 && whole && !hasRoot && !p.Config.Staticfiles.Off && p.Config.Staticfiles.Output == "" {
		all = append(all, Finding{files[0].name, "STATIC_ROOT is not set, so collectstatic has no place to write to",
			`set STATIC_ROOT = BASE_DIR / "staticfiles", or leave the step out: [tool.jubako] staticfiles = false`})
	}
	return all
}

// guarded says whether a line stands below an if of a lesser indentation.
func guarded(lines []string, line int) bool {
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }
	at := indent(lines[line-1])
	for i := line - 2; i >= 0 && at > 0; i-- {
		text := strings.TrimSpace(lines[i])
		if text == "" || indent(lines[i]) >= at {
			continue
		}
		if strings.HasPrefix(text, "if ") || strings.HasPrefix(text, "elif ") || strings.HasPrefix(text, "else") || strings.HasPrefix(text, "try") || strings.HasPrefix(text, "with ") {
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
	for _, program := range h.programs() {
		if !slices.Contains([]string{"curl", "wget", "nc", "pg_isready", "redis-cli", "http"}, program) || in.HasProgram(program) {
			continue
		}
		return []Finding{{p.Where("healthcheck"), fmt.Sprintf("the image has no %s: the container would be unhealthy for ever", program),
			`ask with Python: healthcheck = { url = "http://localhost:8000/…" }`}}
	}
	return nil
}

// programs gives the words that stand where a shell looks for a program: first, or after what ends a command.
func (h *Healthcheck) programs() []string {
	shell := h.Shell
	if len(h.Cmd) > 0 {
		if len(h.Cmd) < 3 || h.Cmd[1] != "-c" { // sh -c …
			return []string{path.Base(h.Cmd[0])}
		}
		shell = h.Cmd[2]
	}
	var all []string
	for _, command := range separatorRE().Split(shell, -1) {
		for _, word := range strings.Fields(command) {
			if !strings.Contains(word, "=") && word != "exec" && word != "!" {
				all = append(all, path.Base(word))
				break
			}
		}
	}
	return all
}

var separatorRE = lazyre.New(`[;&|(){}\n]+`)

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
	return []Finding{{p.Where("cmd"), fmt.Sprintf("%s is not among the packages", dist), "uv add " + dist}}
}

// devGroups are names of dependency groups that are for developers.
var devGroups = []string{"dev", "test", "tests", "testing", "lint", "docs", "typing", "types", "debug", "local", "development"}

// lintGroups finds a development group in the production image.
func (p *Project) lintGroups(in LintInput) []Finding {
	if in.Profile != DefaultProfile {
		return nil
	}
	var all []Finding
	for _, g := range p.Config.Groups {
		if slices.Contains(devGroups, pep508.Normalize(g)) {
			all = append(all, Finding{p.Where("groups"), fmt.Sprintf("the group %q goes into the production image", g), "leave it to a profile: [tool.jubako.profile.dev] groups = [\"" + g + "\"]"})
		}
	}
	return all
}

var (
	secretRE = lazyre.New(`(?i)(^|_)(secret|secret_key|secret_access_key|access_key|password|passwd|pwd|token|api_?key|private_key|credentials?)$`)
	// A URL with a password in it, as DATABASE_URL often is.
	passwordURLRE = lazyre.New(`^[a-z][a-z0-9+.-]*://[^/@:\s]*:[^/@\s]+@`)
)

// lintSecrets finds values in the image's environment that look secret: everybody who can pull the image reads them.
func (p *Project) lintSecrets() []Finding {
	var all []Finding
	for _, name := range slices.Sorted(maps.Keys(p.Config.Env)) {
		if v := p.Config.Env[name]; v != "" && secretRE().MatchString(name) || passwordURLRE().MatchString(v) {
			all = append(all, Finding{p.Where("env." + name), fmt.Sprintf("%s stands in the image, where everybody who pulls it can read it", name),
				"give it when the container starts; what collectstatic alone needs goes under [tool.jubako.staticfiles] env"})
		}
	}
	return all
}
