// Package requirements reads requirements.txt files that pin every package with its hashes, as `uv pip compile
// --generate-hashes`, `uv export`, and pip-compile write them (the format is pip's: "Requirements File Format").
//
// It may import pkg/locked and what lies below it.
package requirements

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/pep508"
)

// The bounds of a file: bytes, entries of all files together, and how deep one may include another.
const (
	maxFile    = 16 << 20
	maxEntries = 100_000
	maxDepth   = 20
)

// File is a requirements.txt with all that it includes. It implements locked.Lock.
type File struct {
	// Indexes are those that the file names, in the order in which they are asked: --index-url, then --extra-index-url.
	Indexes []string
	// NoIndex says that the file allows no index, and FindLinks are the folders that it names.
	NoIndex   bool
	FindLinks []string

	file        string
	entries     []*entry
	constraints []*entry
	onlyBinary  formats
	noBinary    formats
	index       string
	extra       []string
}

var _ locked.Lock = (*File)(nil)

// File is the file's name, for messages.
func (f *File) File() string { return f.file }

// RequiresPython is empty: the format has no word for it.
func (f *File) RequiresPython() pep508.Specifiers { return nil }

// BuildOptions are what --only-binary and --no-binary ask for.
func (f *File) BuildOptions() locked.BuildOptions {
	return locked.BuildOptions{NoBinary: f.noBinary.all, NoBinaryPackages: f.noBinary.names, NoBuild: f.onlyBinary.all, NoBuildPackages: f.onlyBinary.names}
}

// formats is the argument of --no-binary or --only-binary: everything, nothing, or some packages.
type formats struct {
	all   bool
	names pep508.Set
}

func (f *formats) add(list string) {
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case ":all:":
			f.all, f.names = true, nil
		case ":none:":
			*f = formats{}
		case "":
		default:
			if f.names == nil {
				f.names = make(pep508.Set)
			}
			f.names[pep508.Normalize(name)] = true
		}
	}
}

// entry is a requirement.
type entry struct {
	locked.Package
	marker     pep508.Marker
	specifiers pep508.Specifiers // of a constraint
	place      string            // "requirements.txt:12"
}

// Load reads a file and what it includes.
func Load(file string) (*File, error) { return LoadWith(file, readFile, os.Getenv) }

// LoadWith is Load with the caller's way to read files, and to look up the ${VARIABLES} in them.
func LoadWith(file string, read func(string) ([]byte, error), getenv func(string) string) (*File, error) {
	l := &loader{f: &File{file: file}, root: filepath.Dir(file), read: read, getenv: getenv}
	if err := l.load(file, false, nil); err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the requirements: %w", err))
	}
	if err := l.finish(); err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the requirements: %w", err))
	}
	return l.f, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// loader reads one file after another.
type loader struct {
	f      *File
	root   string // the folder to which paths in the result are relative
	read   func(string) ([]byte, error)
	getenv func(string) string
}

// load reads a file. above are the files that include it.
func (l *loader) load(file string, constraints bool, above []string) error {
	if slices.Contains(above, file) || len(above) >= maxDepth {
		return fmt.Errorf("%s includes itself, or is included too deeply", file)
	}
	data, err := l.read(file)
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s has more than %d bytes", file, maxFile)
	}
	above = append(above[:len(above):len(above)], file)
	for _, line := range logicalLines(data) {
		place := fmt.Sprintf("%s:%d", file, line.number)
		text := expand(line.text, l.getenv)
		if err := l.line(place, text, constraints, above); err != nil {
			if _, included := errors.AsType[*placeError](err); included {
				return err
			}
			return &placeError{place, err}
		}
		if len(l.f.entries)+len(l.f.constraints) > maxEntries {
			return &placeError{place, fmt.Errorf("there are more than %d requirements", maxEntries)}
		}
	}
	return nil
}

// placeError says in which line something is wrong.
type placeError struct {
	place string // "requirements.txt:12"
	err   error
}

func (e *placeError) Error() string { return e.place + ": " + e.err.Error() }

func (e *placeError) Unwrap() error { return e.err }

// line reads one requirement, or one line of options.
func (l *loader) line(place, text string, constraints bool, above []string) error {
	if strings.HasPrefix(text, "-") {
		return l.options(place, text, constraints, above)
	}
	e, err := l.requirement(text, constraints)
	if err != nil {
		return err
	}
	e.place = place
	if constraints {
		l.f.constraints = append(l.f.constraints, e)
	} else {
		l.f.entries = append(l.f.entries, e)
	}
	return nil
}

// options reads a line that begins with an option (pip: "Supported options").
func (l *loader) options(place, text string, constraints bool, above []string) error {
	for _, name := range []string{"-e", "--editable"} { // which goes on to the end of the line: a marker may follow
		if rest, ok := strings.CutPrefix(text, name); ok && (name == "-e" || rest != "" && strings.ContainsAny(rest[:1], " =")) {
			return l.option(name, strings.TrimSpace(strings.TrimPrefix(rest, "=")), place, constraints, above)
		}
	}
	args, err := split(text)
	if err != nil {
		return err
	}
	for len(args) > 0 {
		name, value, inline := strings.Cut(args[0], "=")
		if !strings.HasPrefix(name, "--") && len(name) > 2 { // -rother.txt
			name, value, inline = args[0][:2], args[0][2:], true
		}
		args = args[1:]
		if flags[name] {
			if name == "--no-index" {
				l.f.NoIndex = true
			}
			continue
		}
		if !valued[name] {
			if name == "--hash" {
				return errors.New("--hash begins a line: the one before, of the requirement, has to end with a backslash")
			}
			return fmt.Errorf("the option %s is not known", name)
		}
		if !inline {
			if len(args) == 0 {
				return fmt.Errorf("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if err := l.option(name, value, place, constraints, above); err != nil {
			return err
		}
	}
	return nil
}

// flags are the options without a value. What they would change for pip changes nothing for pinned and hashed packages.
var flags = map[string]bool{"--no-index": true, "--require-hashes": true, "--pre": true, "--prefer-binary": true}

// valued are the options with a value.
var valued = pep508.Set{
	"-r": true, "--requirement": true, "-c": true, "--constraint": true, "-i": true, "--index-url": true, "--extra-index-url": true,
	"-f": true, "--find-links": true, "--no-binary": true, "--only-binary": true, "--trusted-host": true, "--use-feature": true, "--keyring-provider": true,
}

func (l *loader) option(name, value, place string, constraints bool, above []string) error {
	if strings.Contains(value, "://") && strings.Contains("-r --requirement -c --constraint -f --find-links", name) {
		return fmt.Errorf("%s %s: jubako reads local files and folders only", name, value)
	}
	beside := func(v string) string {
		if filepath.IsAbs(v) {
			return v
		}
		return filepath.Join(filepath.Dir(above[len(above)-1]), v)
	}
	switch name {
	case "-r", "--requirement":
		return l.load(beside(value), constraints, above)
	case "-c", "--constraint":
		return l.load(beside(value), true, above)
	case "-e", "--editable":
		e, err := l.tree(value)
		if err != nil {
			return err
		}
		if e.Source.Kind != locked.Directory {
			return errors.New("only a folder is editable")
		}
		e.Source.Kind, e.place = locked.Editable, place
		l.f.entries = append(l.f.entries, e)
	case "-i", "--index-url":
		l.f.index = value
	case "--extra-index-url":
		l.f.extra = append(l.f.extra, value)
	case "-f", "--find-links":
		l.f.FindLinks = append(l.f.FindLinks, beside(value))
	case "--no-binary":
		l.f.noBinary.add(value)
	case "--only-binary":
		l.f.onlyBinary.add(value)
	}
	return nil
}

// finish puts together what several lines say of one package, and refuses what is not pinned.
func (l *loader) finish() error {
	f := l.f
	if f.index != "" {
		f.Indexes = append(f.Indexes, f.index)
	}
	f.Indexes = append(f.Indexes, f.extra...)
	if f.NoIndex {
		f.Indexes = nil
	}
	if len(f.entries) == 0 {
		return fmt.Errorf("%s asks for nothing", f.file)
	}
	for _, e := range f.entries {
		// Of a constraint with a marker only Select can tell whether it speaks of this entry.
		hashed := func(c *entry) bool { return c.Name == e.Name && len(c.Hashes) > 0 }
		if e.Source.Kind == locked.Registry && e.Version != "" && slices.ContainsFunc(f.constraints, hashed) {
			continue
		}
		if err := pinned(e); err != nil {
			return &placeError{e.place, err}
		}
	}
	return nil
}

// constrained holds an entry against the constraints that hold on a target, and gives it with the hashes that they have for it.
func (f *File) constrained(e *entry, env *pep508.Env) (*entry, error) {
	for _, c := range f.constraints {
		if c.Name != e.Name || !c.marker.Eval(env) {
			continue
		}
		if e.Version != "" {
			if v, err := pep508.ParseVersion(e.Version); err == nil && !c.specifiers.Contains(v) {
				return nil, &placeError{e.place, fmt.Errorf("%s %s contradicts the constraint %s of %s", e.Name, e.Version, c.specifiers, c.place)}
			}
		}
		if len(e.Hashes) == 0 && e.Source.Kind == locked.Registry {
			with := *e
			with.Hashes = c.Hashes
			e = &with
		}
	}
	if err := pinned(e); err != nil {
		return nil, &placeError{e.place, err}
	}
	return e, nil
}

// pinned refuses a package that could be another one tomorrow.
func pinned(e *entry) error {
	const remedy = "pin everything: uv pip compile --generate-hashes, uv export, or pip-compile --generate-hashes write such a file"
	switch e.Source.Kind {
	case locked.Registry:
		if e.Version == "" {
			return hint.Wrap(fmt.Errorf("%s is not pinned with ==", e.Name), remedy)
		}
		if len(e.Hashes) == 0 {
			return hint.Wrap(fmt.Errorf("%s %s has no --hash", e.Name, e.Version), remedy)
		}
	case locked.URL, locked.Path:
		if len(e.Hashes) == 0 {
			return hint.Wrap(fmt.Errorf("%s has no --hash", e.Name), remedy)
		}
	case locked.Git:
		if e.Source.Git.ID == "" {
			return hint.Wrap(fmt.Errorf("%s comes from a repository at %q, which is no full commit", e.Name, e.Source.Git.Requested), remedy)
		}
	}
	return nil
}

// Select gives the packages to install on a target, sorted by name. The format has neither extras nor groups nor members:
// a request for one is refused.
func (f *File) Select(r locked.Request, env pep508.Env) ([]locked.Selected, error) {
	for what, asked := range map[string]bool{
		"workspace members": len(r.Packages) > 0 || r.AllPackages, "extras": len(r.Extras)+len(r.NoExtras) > 0,
		"dependency groups": len(r.Groups)+len(r.NoGroups)+len(r.OnlyGroups) > 0,
	} {
		if asked {
			return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s has no %s to choose from", f.file, what)), "compile a file for each choice, and name it with --lock; or lock with uv")
		}
	}
	seen := make(map[string]*entry)
	var out []locked.Selected
	for _, e := range f.entries {
		if !e.marker.Eval(&env) {
			continue
		}
		if first := seen[e.Name]; first != nil {
			if first.Version != e.Version || first.Source != e.Source {
				return nil, hint.Usage(fmt.Errorf("%s: %s is there twice for this target, and differs from %s", e.place, e.Name, first.place))
			}
			continue
		}
		seen[e.Name] = e
		e, err := f.constrained(e, &env)
		if err != nil {
			return nil, hint.Usage(fmt.Errorf("reading the requirements: %w", err))
		}
		if r.LeavesOut(&e.Package) {
			continue
		}
		out = append(out, locked.Selected{Package: r.AsAsked(&e.Package), Unsaid: true})
	}
	slices.SortFunc(out, func(a, b locked.Selected) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

var errName = errors.New("it has no name: write name @ URL")
