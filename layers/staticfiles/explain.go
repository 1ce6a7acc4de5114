package staticfiles

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/sandbox"
)

const (
	shownLines       = 15
	settingsVariable = "DJANGO_SETTINGS_MODULE"
)

// Error says that a command of the project failed, with what it printed last.
type Error struct {
	Command string
	Dir     string
	Err     error    // *sandbox.ExitError, *sandbox.StartError or another of sandbox.Run's
	Output  []string // its last lines
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "running %q in %s: %v", e.Command, e.Dir, e.Err)
	for _, line := range e.Output {
		b.WriteString("\n  | " + line)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// explain makes an *Error out of a command's failure, with the remedy where the cause is known.
func (l *Layer) explain(ctx context.Context, argv []string, err error, rec *recorder) error {
	if ctx.Err() != nil {
		return err
	}
	e := &Error{Command: strings.Join(argv, " "), Dir: l.o.Dir, Err: err, Output: telling(rec.lastLines(keptLines))}
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		return hint.Wrap(e, "allow user namespaces on this machine, or build as root in a container, or leave the layer out "+
			"with [tool.jubako] staticfiles = false")
	}
	if start, ok := errors.AsType[*sandbox.StartError](err); ok && start.Command == argv[0] {
		return hint.Wrap(e, "is %q in the base or among the locked packages? [tool.jubako.staticfiles] command says what runs", argv[0])
	}
	if errors.Is(err, sandbox.ErrTimeout) {
		return hint.Wrap(e, "does it wait for a network that it does not have, or for an answer?")
	}
	if remedy := diagnose(rec.lastLines(keptLines), l.o.Workdir); remedy != "" {
		return hint.Wrap(e, "%s", remedy)
	}
	return e
}

// telling leaves out of a traceback's end the frames of Python's own import machinery and the marks below the code, so
// that the lines shown are the project's.
func telling(lines []string) []string {
	var kept []string
	for _, line := range lines {
		trimmed := strings.TrimSpace(line)
		frozen := strings.HasPrefix(trimmed, `File "<frozen importlib.`)
		if frozen || trimmed != "" && strings.Trim(trimmed, "~^") == "" {
			continue
		}
		kept = append(kept, line)
	}
	return kept[max(0, len(kept)-shownLines):]
}

// cause is one thing that real projects fail for: a pattern for a line of the output, and the remedy, into which the
// pattern's groups go.
type cause struct {
	pattern *regexp.Regexp
	remedy  func(match []string, output string) string
}

// diagnose finds what to do about a failure in what the command printed; "" when nothing is known. The last line that
// says something counts, since Python prints the cause last.
func diagnose(lines []string, workdir string) string {
	output := strings.Join(lines, "\n")
	known := causes(workdir)
	for i := len(lines) - 1; i >= 0; i-- {
		for _, c := range known {
			if m := c.pattern.FindStringSubmatch(lines[i]); m != nil {
				if remedy := c.remedy(m, output); remedy != "" {
					return remedy
				}
			}
		}
	}
	return ""
}

// setVariable is the remedy for a setting that is wanted of the environment.
func setVariable(name string) string {
	if name == settingsVariable {
		return "name the settings module: [tool.jubako] env = { DJANGO_SETTINGS_MODULE = \"…\" }"
	}
	return fmt.Sprintf("the settings want %s; give this command a value that reaches no image: "+
		"[tool.jubako.staticfiles] env = { %s = \"…\" }", name, name)
}

func variable(m []string, _ string) string { return setVariable(m[1]) }

func says(format string) func([]string, string) string {
	return func(m []string, _ string) string {
		args := make([]any, len(m)-1)
		for i, s := range m[1:] {
			args[i] = s
		}
		return fmt.Sprintf(format, args...)
	}
}

func causes(workdir string) []cause {
	const name = `([A-Za-z_][A-Za-z0-9_]*)`
	re := regexp.MustCompile
	return []cause{
		// A variable that the settings want, in the words of the standard library, django-environ, python-decouple,
		// environs, starlette and pydantic-settings.
		{re(`^KeyError: '` + name + `'$`), func(m []string, output string) string {
			if strings.Contains(output, "environ") || strings.Contains(output, "<frozen os>") {
				return setVariable(m[1])
			}
			return ""
		}},
		{re(`ImproperlyConfigured: Set the ` + name + ` environment variable`), variable},
		{re(`UndefinedValueError: ` + name + ` not found`), variable},
		{re(`EnvError: Environment variable "` + name + `" not set`), variable},
		{re(`EnvError: "?` + name + `"? not set`), variable},
		{re(`KeyError: ["']Config '` + name + `' is missing`), variable},
		{re(`^` + name + `$`), func(m []string, output string) string {
			if strings.Contains(output, "pydantic") && strings.Contains(output, "\n"+m[1]+"\n  Field required") {
				return setVariable(strings.ToUpper(m[1])) + " (with the prefix that the settings class gives it, if any)"
			}
			return ""
		}},
		{re(`ImproperlyConfigured: The SECRET_KEY setting must not be empty`), func([]string, string) string {
			return setVariable("SECRET_KEY") + " (or under the name by which the settings look for it)"
		}},
		{re(`ImproperlyConfigured: Requested settings?\b.*settings are not configured`), func([]string, string) string {
			return setVariable(settingsVariable)
		}},
		{re(`[iI]mproperlyConfigured: .*\b([A-Z][A-Z0-9_]{2,}) .*environment variable`), variable},
		{re(`without having set the STATIC_ROOT setting`), says(
			`set STATIC_ROOT = BASE_DIR / "staticfiles" in the settings, or leave the layer out with [tool.jubako] staticfiles = false`)},

		// Something that the image lacks.
		{re(`(lib[A-Za-z0-9_+.-]+\.so[0-9.]*): cannot open shared object file`), func(m []string, _ string) string {
			if pkg, ok := debianPackage(m[1]); ok {
				return fmt.Sprintf("%s is in Debian's package %s, which the base lacks: [tool.jubako] packages = [\"%s\"]", m[1], pkg, pkg)
			}
			return fmt.Sprintf("the base lacks %s: add the Debian package that has it to [tool.jubako] packages", m[1])
		}},
		{re(`failed to find libmagic`), says(`the base lacks libmagic: [tool.jubako] packages = ["libmagic1"]`)},
		{re(`Could not find the (GDAL|GEOS) library`), func(m []string, _ string) string {
			pkg := map[string]string{"GDAL": "gdal-bin", "GEOS": "libgeos-c1v5"}[m[1]]
			return fmt.Sprintf("the base lacks %s: [tool.jubako] packages = [\"%s\"]", m[1], pkg)
		}},
		{re(`ModuleNotFoundError: No module named '([^']+)'`), says(`the image has no module %s: is it locked, in a group or extra ` +
			`that this profile installs, and is the settings module meant for it? [tool.jubako] groups, extras, env`)},

		// What the files themselves lack.
		{re(`MissingFileError: The file '([^']+)' could not be found`), says(`a style sheet or script names %s, which no app's static folder holds`)},
		{re(`Missing staticfiles manifest entry for '([^']+)'`), says(`something wants the static file %s, which is not collected`)},

		// What the sandbox does not give.
		{re(`(?:PermissionError|FileNotFoundError|OSError): \[Errno \d+\] [^:]+: '([^']+)'`), func(m []string, _ string) string {
			rel, below := strings.CutPrefix(m[1], workdir+"/")
			if !below {
				return ""
			}
			if i := strings.LastIndexByte(rel, '/'); i > 0 {
				rel = rel[:i]
			}
			return fmt.Sprintf("if the settings want a folder to write to, name it: [tool.jubako] writable = [\"%s\"]", rel)
		}},
		{re(`Network is unreachable|Name or service not known|Temporary failure in name resolution|Connection refused`), says(
			`steps have no network: let the settings connect to nothing while they are imported, or give them other values with ` +
				`[tool.jubako.staticfiles] env = { … }`)},
	}
}

// debianPackage names the package of a shared library that Python packages often want of the system.
func debianPackage(library string) (string, bool) {
	name, version, _ := strings.Cut(library, ".so")
	version = strings.TrimPrefix(version, ".")
	known := map[string]string{
		"libpq": "libpq5", "libmagic": "libmagic1", "libmariadb": "libmariadb3", "libmysqlclient": "libmariadb3",
		"libgobject-2.0": "libglib2.0-0t64", "libglib-2.0": "libglib2.0-0t64", "libpango-1.0": "libpango-1.0-0",
		"libpangocairo-1.0": "libpangocairo-1.0-0", "libpangoft2-1.0": "libpangoft2-1.0-0", "libcairo": "libcairo2",
		"libGL": "libgl1", "libxml2": "libxml2", "libxslt": "libxslt1.1", "libxmlsec1": "libxmlsec1t64", "libgomp": "libgomp1",
		"libgdk_pixbuf-2.0": "libgdk-pixbuf-2.0-0", "libldap": "libldap2", "liblber": "libldap2", "libsnappy": "libsnappy1v5",
		"libzmq": "libzmq5", "libodbc": "libodbc2", "librdkafka": "librdkafka1", "libvips": "libvips42t64", "libexpat": "libexpat1",
		"libmemcached": "libmemcached11t64", "libpcre2-8": "libpcre2-8-0", "libpcre": "libpcre3", "libgeos_c": "libgeos-c1v5",
	}
	if name == "libldap" && strings.HasPrefix(version, "2.5") || name == "libldap-2.5" {
		return "libldap-2.5-0", true
	}
	pkg, ok := known[name]
	return pkg, ok
}
