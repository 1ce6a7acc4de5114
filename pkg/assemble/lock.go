package assemble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/pylock"
	"github.com/jubako/jubako/pkg/requirements"
	"github.com/jubako/jubako/pkg/uvlock"
)

// foreign are locks that are not read, and how to make of each one that is.
var foreign = []struct{ name, remedy string }{
	{"poetry.lock", "export it with Poetry's export plugin, poetry export -f requirements.txt -o requirements.txt, and build with --lock requirements.txt"},
	{"pdm.lock", "export it, pdm export -f pylock -o pylock.toml, and build with --lock pylock.toml"},
	{"Pipfile.lock", "export it, pipenv requirements --hash > requirements.txt, and build with --lock requirements.txt"},
}

// readLock reads the lock that --lock names; or else uv.lock beside the project, or in the folder of the workspace above it;
// or else what lies beside the project in one of the other formats.
func (in *inputs) readLock(dir, named string) error {
	if named != "" {
		return in.openLock(named)
	}
	for _, at := range project.LockFolders(dir) {
		file := filepath.Join(at, "uv.lock")
		if _, err := os.Stat(file); err == nil {
			return in.openLock(file)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return hint.Usage(fmt.Errorf("reading the lock: %w", err))
		}
	}
	for _, name := range []string{"pylock.toml", "requirements.txt"} {
		if file := filepath.Join(dir, name); exists(file) {
			return in.openLock(file)
		}
	}
	for _, f := range foreign {
		if exists(filepath.Join(dir, f.name)) {
			return hint.Wrap(hint.Usage(fmt.Errorf("%s is not read by jubako, and there is no uv.lock in %s", f.name, dir)), "%s", f.remedy)
		}
	}
	return hint.Wrap(hint.Usage(fmt.Errorf("%w in %s, and no pylock.toml or requirements.txt", errNoLock, dir)), "uv lock makes it; keep it under version control")
}

// errNoLock says that a project has no lock.
var errNoLock = errors.New("there is no uv.lock")

// openLock reads a lock, whose format its name tells.
func (in *inputs) openLock(file string) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	in.lockDir = filepath.Dir(abs)
	base := filepath.Base(file)
	if i := slices.IndexFunc(foreign, func(f struct{ name, remedy string }) bool { return f.name == base }); i >= 0 {
		return hint.Wrap(hint.Usage(fmt.Errorf("%s is not read by jubako", file)), "%s", foreign[i].remedy)
	}
	if ext := filepath.Ext(base); ext == ".txt" || ext == ".in" {
		in.lock, err = requirements.Load(file)
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return hint.Usage(fmt.Errorf("reading the lock: %w", err))
	}
	switch {
	case pylock.IsName(base):
		in.lock, err = pylock.Parse(data, file)
	case filepath.Ext(base) == ".lock":
		u := newUVLock(data, file)
		if !in.parseLater {
			_, err = u.parse()
		}
		in.lock = u
	default:
		err = hint.Wrap(hint.Usage(fmt.Errorf("the name %s tells no format of a lock", file)), "uv.lock, pylock.toml, pylock.NAME.toml and *.txt (requirements with hashes) are read")
	}
	return err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// inStep holds a uv.lock's own record of the project's requirements against the project. Other formats have no such record.
func (b *builder) inStep(lock locked.Lock) error {
	u, ok := lock.(*uvLock)
	if !ok {
		return nil
	}
	p := b.spec.Project
	question := struct {
		Name     string
		Declared uvlock.Declared
	}{p.Name, uvlock.Declared{Dependencies: p.Dependencies, Optional: p.Optional, Groups: p.Groups, GroupPython: p.GroupPython, Dynamic: p.DynamicDeps}}
	if _, ok := b.answered(u, "in step", question); ok {
		return nil
	}
	l, err := u.parse()
	if err != nil {
		return err
	}
	diffs, err := l.CheckMetadata(question.Name, question.Declared)
	if err != nil {
		return hint.Usage(fmt.Errorf("reading the requirements of %s: %w", p.File, err))
	}
	if len(diffs) == 0 {
		b.remember(u, "in step", question, nil)
		return nil
	}
	var text []string
	for _, d := range diffs {
		text = append(text, d.String())
	}
	message := fmt.Sprintf("%s is out of step with %s: %s", l.File(), p.File, strings.Join(text, "; "))
	if b.spec.CI || b.spec.Strict {
		return hint.Wrap(hint.Usage(errors.New(message)), "uv lock mends it")
	}
	b.warn(message + " (uv lock mends it)")
	return nil
}

// request is what to install, from the configuration and the command line.
func (b *builder) request() locked.Request {
	c, r := b.spec.Project.Config, b.spec.Install
	r.Project, r.NoDefaultGroups = b.spec.Project.Name, true
	r.RequiresPython, r.GroupPython = b.in.requiresPython, b.in.groupPython
	r.Extras = slices.Concat(c.Extras, r.Extras)
	if len(r.OnlyGroups) == 0 {
		r.Groups = slices.Concat(c.Groups, r.Groups)
	}
	return r
}

// requirePython reads what the project asks of the Python.
func (in *inputs) requirePython(requires string, groups map[string]string) error {
	var err error
	if requires != "" {
		if in.requiresPython, err = pep508.ParseSpecifiers(requires); err != nil {
			return hint.Usage(fmt.Errorf("requires-python: %w", err))
		}
	}
	in.groupPython = make(map[string]pep508.Specifiers)
	for g, text := range groups {
		if text == "" {
			continue
		}
		if in.groupPython[g], err = pep508.ParseSpecifiers(text); err != nil {
			return hint.Usage(fmt.Errorf("requires-python of the group %q: %w", g, err))
		}
	}
	return nil
}
