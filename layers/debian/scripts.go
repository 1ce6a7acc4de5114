package debian

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/maintscript"
)

// Class says what became of a package's maintainer scripts.
type Class string

// The classes.
const (
	None      Class = "none"      // it has none
	Noop      Class = "noop"      // they would change nothing that an image needs
	Handled   Class = "handled"   // what they do is done
	Unhandled Class = "unhandled" // they do something that is not done
)

// Script says what became of a package's maintainer scripts.
type Script struct {
	Package string `json:"package"`
	Version string `json:"version"`
	Class   Class  `json:"class"`
	// Reasons say what is not done.
	Reasons []string `json:"reasons,omitempty"`
}

func (s Script) String() string {
	return fmt.Sprintf("package %s %s: its maintainer scripts are not carried out whole: %s", s.Package, s.Version, strings.Join(s.Reasons, "; "))
}

// runScripts works out what the scripts that dpkg would run do, and does of it what can be done.
func (b *builder) runScripts() error {
	for _, p := range b.pkgs {
		s := &scriptRun{b: b, p: p, class: None, answers: make(map[string]maintscript.Arg)}
		if text := p.content.Member("config"); text != nil {
			// debconf's questions: a script whose only outcome is the answers.
			_, _ = maintscript.Trace(text, s.machine("config"))
		}
		for _, name := range []string{"preinst", "postinst"} {
			if text := p.content.Member(name); text != nil {
				if err := s.run(name, text); err != nil {
					return fmt.Errorf("carrying out %s of %s: %w", name, p, err)
				}
			}
		}
		b.scripts = append(b.scripts, Script{p.Name, p.Version, s.class, s.reasons})
	}
	return nil
}

type scriptRun struct {
	b       *builder
	p       *pkg
	class   Class
	reasons []string
	answers map[string]maintscript.Arg // to debconf's questions
}

func (s *scriptRun) handled() {
	if s.class != Unhandled {
		s.class = Handled
	}
}

func (s *scriptRun) unhandled(format string, args ...any) {
	s.class = Unhandled
	if r := fmt.Sprintf(format, args...); !slices.Contains(s.reasons, r) {
		s.reasons = append(s.reasons, r)
	}
}

func (s *scriptRun) run(name string, text []byte) error {
	if s.class == None {
		s.class = Noop
	}
	if k, ok := knownScript(s.p.Name); ok {
		if k.unhandled != "" {
			s.unhandled("%s", k.unhandled)
		}
		if k.whole {
			return nil
		}
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if interpreter := strings.Fields(strings.TrimPrefix(string(first), "#!")); len(interpreter) == 0 ||
		!slices.Contains([]string{"sh", "bash", "dash"}, path.Base(interpreter[0])) {
		if !bytes.HasPrefix(text, []byte("#!")) {
			s.unhandled("%s is no script", name)
		} else {
			s.unhandled("%s is a script for %s", name, first[2:])
		}
		return nil
	}
	commands, err := maintscript.Trace(text, s.machine(name))
	if err != nil {
		s.unhandled("%s is not understood (%v)", name, err)
		return nil
	}
	for _, c := range commands {
		if err := s.command(c); err != nil {
			return err
		}
	}
	return nil
}

// machine is what the script finds around itself.
func (s *scriptRun) machine(name string) maintscript.Machine {
	b, p := s.b, s.p
	args := []string{"configure", ""}
	if name == "preinst" {
		args = []string{"install"}
	}
	if p.old != nil {
		args = []string{"configure", string(p.old.info.Version)}
		if name == "preinst" {
			args = []string{"upgrade", string(p.old.info.Version), p.Version}
		}
	}
	return maintscript.Machine{
		Args:       args,
		Env:        map[string]string{"DPKG_MAINTSCRIPT_PACKAGE": p.Name, "DPKG_MAINTSCRIPT_NAME": name, "DPKG_MAINTSCRIPT_ARCH": p.Arch, "DPKG_ROOT": "", "DEBCONF_RECONFIGURE": ""},
		Exists:     b.test,
		HasProgram: b.hasProgram,
		Compare:    func(x, y string) int { return deb.Version(x).Compare(deb.Version(y)) },
		Debconf:    debconf(p.content.Member("templates")),
		Answers:    s.answers,
	}
}

// debconf gives the defaults of a package's questions.
func debconf(templates []byte) func(string) (string, bool) {
	stanzas, err := deb.ParseStanzas(templates)
	return func(question string) (string, bool) {
		if err != nil {
			return "", false
		}
		for _, t := range stanzas {
			if t.Get("Template") == question {
				return t.Get("Default"), true
			}
		}
		return "", false
	}
}

// test is test(1) of a file of the image.
func (b *builder) test(op byte, p string) bool {
	if op == 'h' || op == 'L' {
		at, err := b.canonical(strings.TrimPrefix(p, "/"))
		s, ok := b.look(at)
		return err == nil && ok && s.Kind == fstree.Symlink
	}
	_, s, ok := b.resolve(strings.TrimPrefix(p, "/"))
	if !ok {
		return false
	}
	switch op {
	case 'd':
		return s.Kind == fstree.Dir
	case 'f':
		return s.Kind == fstree.File
	case 'x':
		return s.Mode&0o111 != 0
	case 's':
		return s.Size > 0
	}
	return true
}

// searchPath is where dpkg lets scripts look for programs.
var searchPath = [...]string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

func (b *builder) hasProgram(name string) bool {
	if strings.Contains(name, "/") {
		return b.test('x', name)
	}
	return slices.ContainsFunc(searchPath[:], func(dir string) bool { return b.test('x', "/"+dir+"/"+name) && b.test('f', "/"+dir+"/"+name) })
}

// command does what a command of a script would do, as far as it can be done here.
func (s *scriptRun) command(c maintscript.Command) error {
	name := c.Name()
	if name == "" {
		return nil // what a variable alone stands for: the answer of a function, run as a condition
	}
	if harmless[name] || strings.HasPrefix(name, "db_") || strings.HasPrefix(name, "ucf") {
		return nil
	}
	args := literal(c)
	switch name {
	case "update-alternatives":
		s.alternatives(c)
		return nil
	case "update-ca-certificates", "ldconfig", "update-gsfontmap", "update-passwd", "gdk-pixbuf-query-loaders", "update-mime-database":
		s.handled() // done at the end, from what all packages have brought
		return nil
	case ".":
		if len(args) > 1 && !strings.HasPrefix(args[1], "/usr/share/debconf/") && args[1] != "/lib/lsb/init-functions" {
			s.unhandled("it reads commands from %s", args[1])
		}
		return nil
	case "systemd-sysusers":
		return s.sysusers(args)
	case "adduser", "addgroup":
		return s.adduser(c)
	case maintscript.Write:
		if len(args) == 2 && strings.HasSuffix(args[1], "/gdk-pixbuf-2.0/2.10.0/loaders.cache") {
			s.handled() // by pixbufLoaders
			return nil
		}
		if len(args) == 2 && (strings.HasPrefix(args[1], "/var/log/") || strings.HasPrefix(args[1], "/tmp/")) || c.Maybe {
			return nil
		}
		s.unhandled("it writes %s", shown(c, 1))
		return nil
	case "dpkg-maintscript-helper":
		if s.p.old != nil && len(args) > 2 && s.b.test('e', args[2]) {
			s.unhandled("%s %s", args[1], args[2])
		}
		return nil
	case "dpkg-divert":
		if slices.Contains(args, "--remove") || slices.Contains(args, "--list") || slices.Contains(args, "--truename") || c.Maybe || s.diversion(args) {
			return nil
		}
	case "dpkg-statoverride":
		if slices.Contains(args, "--list") || slices.Contains(args, "--remove") {
			return nil
		}
	case "rm", "rmdir":
		if s.missing(c) {
			return nil
		}
		if name == "rm" && !c.Maybe && len(args) == len(c.Args) {
			return s.remove(args[1:])
		}
	}
	if !c.Maybe && len(args) == len(c.Args) {
		done, err := s.fileCommand(name, args)
		if err != nil || done {
			return err
		}
	}
	if text, ok := understood[name]; ok {
		s.unhandled("%s", text)
		return nil
	}
	if c.Maybe && (name == "rm" || name == "mv" || name == "cp" || name == "ln" || name == "mkdir" || name == "chmod" || name == "chown") {
		return nil // of a branch that nothing decides: an upgrade's, as a rule
	}
	s.unhandled("it runs %s", shown(c, 0))
	return nil
}

// shown gives a command's words for a message, not too long.
func shown(c maintscript.Command, from int) string {
	var words []string
	for _, a := range c.Args[from:] {
		if !a.Known {
			words = append(words, "…")
			break
		}
		words = append(words, a.Text)
	}
	const longest = 80
	text := strings.Join(strings.Fields(strings.Join(words, " ")), " ")
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return text
}

// literal gives the words up to the first that is not known.
func literal(c maintscript.Command) []string {
	var words []string
	for _, a := range c.Args {
		if !a.Known {
			break
		}
		words = append(words, a.Text)
	}
	return words
}

// missing says whether none of the paths that a command would remove is there.
func (s *scriptRun) missing(c maintscript.Command) bool {
	for _, a := range c.Args[1:] {
		switch {
		case !a.Known:
			return c.Maybe || s.p.old == nil
		case strings.HasPrefix(a.Text, "-"):
		case s.b.test('e', a.Text) || s.b.test('h', a.Text) || strings.ContainsAny(a.Text, "*?["):
			return false
		}
	}
	return true
}
