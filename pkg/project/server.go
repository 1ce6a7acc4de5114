package project

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// server is a program that serves an application.
type server struct {
	dist string // the package, by its normalized name
	with string // another package that it needs for this, or ""
	asgi bool
	cmd  func(app string) []string
}

// servers in the order in which one is taken where several are locked.
var servers = []server{
	{"gunicorn", "uvicorn-worker", true, func(app string) []string {
		return []string{"gunicorn", app, "--worker-class", "uvicorn_worker.UvicornWorker", "--bind", "0.0.0.0:8000"}
	}},
	{"uvicorn", "", true, func(app string) []string { return []string{"uvicorn", app, "--host", "0.0.0.0", "--port", "8000"} }},
	{"daphne", "", true, func(app string) []string { return []string{"daphne", "-b", "0.0.0.0", "-p", "8000", app} }},
	{"hypercorn", "", true, func(app string) []string { return []string{"hypercorn", "--bind", "0.0.0.0:8000", app} }},
	{"granian", "", true, func(app string) []string {
		return []string{"granian", "--interface", "asgi", "--host", "0.0.0.0", "--port", "8000", app}
	}},
	{"gunicorn", "", false, func(app string) []string { return []string{"gunicorn", app, "--bind", "0.0.0.0:8000"} }},
	{"waitress", "", false, func(app string) []string { return []string{"waitress-serve", "--listen=0.0.0.0:8000", app} }},
	{"granian", "", false, func(app string) []string {
		return []string{"granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", app}
	}},
	{"uwsgi", "", false, uwsgi},
	{"pyuwsgi", "", false, uwsgi},
}

func uwsgi(app string) []string {
	return []string{"uwsgi", "--master", "--die-on-term", "--need-app", "--http-socket", "0.0.0.0:8000", "--module", app}
}

// direct gives the packages that the project itself names, by their normalized names.
func (p *Project) direct() map[string]bool {
	names := make(map[string]bool)
	add := func(requirements []string) {
		for _, r := range requirements {
			if req, err := pep508.ParseRequirement(r); err == nil {
				names[pep508.Normalize(req.Name)] = true
			}
		}
	}
	add(p.Dependencies)
	for _, g := range p.Config.Groups {
		add(p.Groups[pep508.Normalize(g)])
	}
	for extra, requirements := range p.Optional {
		if slices.ContainsFunc(p.Config.Extras, func(e string) bool { return pep508.Normalize(e) == pep508.Normalize(extra) }) {
			add(requirements)
		}
	}
	return names
}

// serve chooses a server that is locked and an entry point for it: one that the project names before one that something
// else brought in, since every Django project has both an asgi.py and a wsgi.py.
func (p *Project) serve(l Layout, locked map[string]bool) (cmd []string, dist string) {
	for _, among := range []map[string]bool{p.direct(), locked} {
		for _, s := range servers {
			app := l.WSGI
			if s.asgi {
				app = l.ASGI
			}
			if app != "" && locked[s.dist] && among[s.dist] && (s.with == "" || locked[s.with]) {
				return s.cmd(app + ":application"), s.dist
			}
		}
	}
	return nil, ""
}

// inferCmd chooses what the image starts: a locked server for Django, else the project's one script.
func (p *Project) inferCmd(l Layout, locked map[string]bool) (cmd []string, reason string, err error) {
	if l.Django {
		if cmd, dist := p.serve(l, locked); cmd != nil {
			return cmd, dist + " is locked", nil
		}
	}
	if name := p.script(); name != "" {
		return []string{name}, "the script of [project.scripts]", nil
	}
	err = hint.Usage(fmt.Errorf("%s does not say what the image starts, and nothing in the project tells", p.File))
	return nil, "", hint.Wrap(err, "%s", p.cmdRemedy(l, locked))
}

// script is the project's only one, or the one of the project's name; "" where there is none or the project is not installed.
func (p *Project) script() string {
	if !p.Packaged {
		return ""
	}
	names := slices.Sorted(maps.Keys(p.Scripts))
	if len(names) == 1 {
		return names[0]
	}
	for _, name := range names {
		if pep508.Normalize(name) == pep508.Normalize(p.Name) {
			return name
		}
	}
	return ""
}

func (p *Project) cmdRemedy(l Layout, locked map[string]bool) string {
	const write = `write cmd = ["…"] under [tool.jubako]`
	scripts := strings.Join(slices.Sorted(maps.Keys(p.Scripts)), ", ")
	switch {
	case l.Django && slices.ContainsFunc(servers, func(s server) bool { return locked[s.dist] }):
		return "a server is locked, but beside the settings there is no asgi.py or wsgi.py for it: " + write
	case l.Django:
		return "no ASGI or WSGI server is locked: uv add uvicorn, or " + write
	case scripts != "" && !p.Packaged:
		return write + "; uv does not install the project's scripts (" + scripts + "), since it has no [build-system]"
	case scripts != "":
		return write + "; [project.scripts] has " + scripts
	default:
		return `write under [tool.jubako], say: cmd = ["uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]`
	}
}
