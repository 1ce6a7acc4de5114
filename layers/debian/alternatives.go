package debian

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/maintscript"
)

const alternativesDir = "var/lib/dpkg/alternatives/"

// choice is one of several files that a name may stand for (update-alternatives(1)).
type choice struct {
	path     string
	priority int
	slaves   map[string]string // slave name → file
}

// alternative is a link group: the master link, its slaves, and the choices.
type alternative struct {
	name   string
	manual bool
	link   string
	slaves map[string]string // slave name → link
	all    []choice
}

// parseAlternative reads a file of /var/lib/dpkg/alternatives.
func parseAlternative(name string, b []byte) (*alternative, error) {
	lines := strings.Split(string(b), "\n")
	next := func() (string, bool) {
		if len(lines) == 0 {
			return "", false
		}
		l := lines[0]
		lines = lines[1:]
		return l, true
	}
	a := &alternative{name: name, slaves: make(map[string]string)}
	mode, _ := next()
	if mode != "auto" && mode != "manual" {
		return nil, fmt.Errorf("its mode is %.20q", mode)
	}
	a.manual = mode == "manual"
	a.link, _ = next()
	var names []string
	for {
		slave, ok := next()
		if !ok {
			return nil, errors.New("it ends early")
		}
		if slave == "" {
			break
		}
		names = append(names, slave)
		if a.slaves[slave], ok = next(); !ok {
			return nil, errors.New("it ends early")
		}
	}
	for {
		p, ok := next()
		if !ok || p == "" {
			break
		}
		c := choice{path: p, slaves: make(map[string]string)}
		priority, _ := next()
		var err error
		if c.priority, err = strconv.Atoi(priority); err != nil {
			return nil, fmt.Errorf("the priority of %s is %.20q", p, priority)
		}
		for _, slave := range names {
			file, ok := next()
			if !ok {
				return nil, errors.New("it ends early")
			}
			if file != "" {
				c.slaves[slave] = file
			}
		}
		a.all = append(a.all, c)
	}
	return a, a.check()
}

// check refuses names and paths that would lead elsewhere.
func (a *alternative) check() error {
	paths := []string{a.link}
	names := []string{a.name}
	for n, l := range a.slaves {
		names, paths = append(names, n), append(paths, l)
	}
	for _, c := range a.all {
		paths = append(paths, c.path)
		for _, f := range c.slaves {
			paths = append(paths, f)
		}
	}
	for _, n := range names {
		if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/ \t\n\x00") || strings.HasPrefix(n, ".wh.") {
			return fmt.Errorf("%.60q is no name", n)
		}
	}
	for _, p := range paths {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\n\x00") || strings.HasPrefix(path.Base(p), ".wh.") {
			return fmt.Errorf("%.60q is no absolute path", p)
		}
	}
	return nil
}

// bytes writes the file as update-alternatives does: slaves by name, choices by path.
func (a *alternative) bytes() []byte {
	mode := "auto"
	if a.manual {
		mode = "manual"
	}
	out := []byte(mode + "\n" + a.link + "\n")
	names := slices.Sorted(mapKeys(a.slaves))
	for _, n := range names {
		out = append(out, n+"\n"+a.slaves[n]+"\n"...)
	}
	out = append(out, '\n')
	slices.SortFunc(a.all, func(x, y choice) int { return strings.Compare(x.path, y.path) })
	for _, c := range a.all {
		out = fmt.Appendf(out, "%s\n%d\n", c.path, c.priority)
		for _, n := range names {
			out = append(out, c.slaves[n]+"\n"...)
		}
	}
	return append(out, '\n')
}

// install is update-alternatives --install.
type install struct {
	link, name string
	choice     choice
	slaves     map[string]string
}

// xzLinks are the slaves of lzma that xz-utils computes in its script.
var xzLinks = [...]string{"unlzma:unxz", "lzcat:xzcat", "lzmore:xzmore", "lzless:xzless", "lzdiff:xzdiff", "lzcmp:xzcmp", "lzgrep:xzgrep", "lzegrep:xzegrep", "lzfgrep:xzfgrep"}

// alternatives takes an update-alternatives of a script.
func (s *scriptRun) alternatives(c maintscript.Command) {
	words := literal(c)
	i := slices.Index(words, "--install")
	if i < 0 {
		return // --remove and --list find nothing to do on a first installation
	}
	words = words[i+1:]
	if len(words) < 4 {
		if !c.Maybe {
			s.unhandled("it registers alternatives (update-alternatives) whose names only a shell could tell")
		}
		return
	}
	in := install{link: words[0], name: words[1], choice: choice{path: words[2], slaves: make(map[string]string)}, slaves: make(map[string]string)}
	var err error
	if in.choice.priority, err = strconv.Atoi(words[3]); err != nil {
		return
	}
	for words = words[4:]; len(words) >= 4 && words[0] == "--slave"; words = words[4:] {
		in.slaves[words[2]], in.choice.slaves[words[2]] = words[1], words[3]
	}
	if in.name == "lzma" && s.p.Name == "xz-utils" {
		for _, l := range xzLinks {
			name, program, _ := strings.Cut(l, ":")
			in.slaves[name], in.choice.slaves[name] = "/usr/bin/"+name, "/usr/bin/"+program
			page := func(n string) string { return "/usr/share/man/man1/" + n + ".1.gz" }
			in.slaves[name+".1.gz"], in.choice.slaves[name+".1.gz"] = page(name), page(program)
		}
	}
	s.handled()
	s.b.installs = append(s.b.installs, in)
}

// alternatives carries the link groups on: every group that a package has added to gets its best choice.
func (b *builder) alternatives() error {
	groups := make(map[string]*alternative)
	for _, in := range b.installs {
		if !b.test('e', in.choice.path) {
			continue // update-alternatives refuses it too
		}
		a := groups[in.name]
		if a == nil {
			if data, ok := b.dpkg.Files[alternativesDir+in.name]; ok {
				var err error
				if a, err = parseAlternative(in.name, data); err != nil {
					return fmt.Errorf("reading /%s%s of the base: %w", alternativesDir, in.name, err)
				}
			} else {
				a = &alternative{name: in.name, slaves: make(map[string]string)}
			}
			groups[in.name] = a
		}
		a.link = in.link
		for n, l := range in.slaves {
			a.slaves[n] = l
		}
		a.all = slices.DeleteFunc(a.all, func(c choice) bool { return c.path == in.choice.path })
		a.all = append(a.all, in.choice)
		if err := a.check(); err != nil {
			return fmt.Errorf("alternative %q: %w", in.name, err)
		}
	}
	for _, name := range slices.Sorted(mapKeys(groups)) {
		if err := b.choose(groups[name]); err != nil {
			return fmt.Errorf("alternative %q: %w", name, err)
		}
	}
	return nil
}

// choose links a group to its best choice, and writes its file.
func (b *builder) choose(a *alternative) error {
	content := a.bytes()
	if err := b.file(alternativesDir+a.name, 0o644, content); err != nil {
		return err
	}
	if a.manual {
		return nil
	}
	var best *choice
	for i, c := range a.all {
		if b.test('e', c.path) && (best == nil || c.priority > best.priority) {
			best = &a.all[i]
		}
	}
	if best == nil {
		return nil
	}
	if err := b.alternativeLink(a.name, a.link, best.path); err != nil {
		return err
	}
	for _, n := range slices.Sorted(mapKeys(a.slaves)) {
		file := best.slaves[n]
		if file == "" || !b.test('e', file) {
			if err := b.unlink("etc/alternatives/"+n, a.slaves[n]); err != nil {
				return err
			}
			continue
		}
		if err := b.alternativeLink(n, a.slaves[n], file); err != nil {
			return err
		}
	}
	return nil
}

// alternativeLink makes LINK → /etc/alternatives/NAME → FILE. A real file is never replaced.
func (b *builder) alternativeLink(name, link, file string) error {
	const producer = "the alternatives"
	err := b.write(fstree.Entry{Path: "etc/alternatives/" + name, Kind: fstree.Symlink, Link: file, Producer: producer})
	if err != nil {
		return err
	}
	at, err := b.canonical(strings.TrimPrefix(link, "/"))
	if err != nil {
		return err
	}
	if s, ok := b.look(at); ok && s.Kind != fstree.Symlink {
		b.warn("%s is a %s, and does not become a link to the alternative %s", link, s.Kind, file)
		return nil
	}
	return b.write(fstree.Entry{Path: at, Kind: fstree.Symlink, Link: "/etc/alternatives/" + name, Producer: producer})
}

// unlink takes a slave's links of the base away, which the choice that is new does not have.
func (b *builder) unlink(etc, link string) error {
	at, err := b.canonical(strings.TrimPrefix(link, "/"))
	if err != nil {
		return err
	}
	if s, ok := b.look(at); ok && s.Kind == fstree.Symlink && s.Link == "/"+etc {
		if _, base := b.base.Files[at]; base {
			if err := b.whiteout(at, "the alternatives"); err != nil {
				return err
			}
		} else {
			b.tree.Remove(at)
		}
	}
	if _, ok := b.look(etc); !ok {
		return nil
	}
	if _, base := b.base.Files[etc]; base {
		return b.whiteout(etc, "the alternatives")
	}
	b.tree.Remove(etc)
	return nil
}
