package staticfiles

import (
	"cmp"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/pyimport"
)

// likely visits what collectstatic of a Django project imports, in the order in which it does: manage.py, the settings, and of each
// app that they name what django.apps and the admin look for (Django documentation, "Applications"). Where the command is another,
// it likely imports some of it.
func (l *Layer) likely(g *pyimport.Graph) {
	manage := strings.TrimSuffix(path.Base(l.o.Manage), ".py")
	g.Visit(manage)
	settings := l.settings()
	if file, _, ok := g.Find(manage); ok && settings == "" {
		settings = l.settingsIn(g, file)
	}
	g.Visit(settings)
	apps := l.appsIn(g)
	for _, app := range apps {
		g.Visit(app)
		g.Visit(app + ".apps")
	}
	for _, module := range []string{".models", ".admin", ".checks", ".base"} { // base is what a database engine has
		for _, app := range apps {
			g.Visit(app + module)
		}
		if module == ".models" {
			g.Visit("django.contrib.staticfiles.management.commands.collectstatic")
		}
	}
}

// settingsIn is the module of the project that manage.py names.
func (l *Layer) settingsIn(g *pyimport.Graph, manage string) string {
	for _, name := range g.Strings(manage) {
		if file, _, ok := g.Find(name); ok && l.own(file) && file != manage {
			return name
		}
	}
	return ""
}

// appsIn are the apps that the project's modules name which were visited: by their package, or by their configuration's class.
func (l *Layer) appsIn(g *pyimport.Graph) (apps []string) {
	known := make(map[string]bool)
	for _, file := range g.Files() {
		if !l.own(file) {
			continue
		}
		for _, name := range g.Strings(file) {
			module := strings.TrimSuffix(name, path.Ext(name)) // that of a class
			if app, isConfig := strings.CutSuffix(module, ".apps"); isConfig {
				name = app
			}
			if _, isPackage, ok := g.Find(name); ok && isPackage && !known[name] {
				known[name] = true
				apps = append(apps, name)
			}
		}
	}
	return apps
}

// roots are the folders in which the command's Python looks for modules: where manage.py lies, what PYTHONPATH says, the standard
// library, and the environment.
func (l *Layer) roots() (roots []string) {
	o := &l.o
	add := func(dir string) { roots = append(roots, cmp.Or(strings.TrimPrefix(path.Clean(dir), "/"), ".")) }
	add(path.Dir(o.abs(o.Manage)))
	for _, kv := range l.env {
		if list, ok := strings.CutPrefix(kv, "PYTHONPATH="); ok {
			for dir := range strings.SplitSeq(list, ":") {
				if path.IsAbs(dir) {
					add(dir)
				}
			}
		}
	}
	library := o.Python.Library()
	add(path.Join(path.Dir(o.Python.Path), "..", library))
	if o.Venv != "" {
		add(path.Join(o.abs(o.Venv), library, "site-packages"))
	}
	return roots
}
