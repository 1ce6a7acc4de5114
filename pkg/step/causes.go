package step

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Cause is one thing that real projects fail for: a pattern for a line of the output, and the remedy, into which the
// pattern's groups go.
type Cause struct {
	Pattern *regexp.Regexp
	Remedy  func(match []string, output string) string
}

// Diagnose finds what to do about a failure in what the command printed; "" when nothing is known. The last line that
// says something counts, since Python prints the cause last.
func (a Advice) Diagnose(lines []string) string {
	output := strings.Join(lines, "\n")
	known := slices.Concat(a.More, a.causes())
	for i := len(lines) - 1; i >= 0; i-- {
		for _, c := range known {
			if m := c.Pattern.FindStringSubmatch(lines[i]); m != nil {
				if remedy := c.Remedy(m, output); remedy != "" {
					return remedy
				}
			}
		}
	}
	return ""
}

// setVariable is the remedy for a setting that is wanted of the environment.
func (a Advice) setVariable(name string) string {
	if name == settingsVariable {
		return "name the settings module: [tool.jubako] env = { DJANGO_SETTINGS_MODULE = \"…\" }"
	}
	return fmt.Sprintf("the settings want %s; give this command a value that reaches no image: %s env = { %s = \"…\" }", name, a.Table, name)
}

// Says is a remedy whose text the pattern's groups go into.
func Says(format string) func([]string, string) string {
	return func(m []string, _ string) string {
		args := make([]any, len(m)-1)
		for i, s := range m[1:] {
			args[i] = s
		}
		return fmt.Sprintf(format, args...)
	}
}

func (a Advice) causes() []Cause {
	setVariable := a.setVariable
	variable := func(m []string, _ string) string { return setVariable(m[1]) }
	const name = `([A-Za-z_][A-Za-z0-9_]*)`
	re := regexp.MustCompile
	return []Cause{
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

		// Something that the image lacks.
		{re(`(lib[A-Za-z0-9_+.-]+\.so[0-9.]*): cannot open shared object file`), func(m []string, _ string) string {
			if pkg, ok := debianPackage(m[1]); ok {
				return fmt.Sprintf("%s is in Debian's package %s, which the base lacks: [tool.jubako] packages = [\"%s\"]", m[1], pkg, pkg)
			}
			return fmt.Sprintf("the base lacks %s: add the Debian package that has it to [tool.jubako] packages", m[1])
		}},
		{re(`failed to find libmagic`), Says(`the base lacks libmagic: [tool.jubako] packages = ["libmagic1"]`)},
		{re(`Could not find the (GDAL|GEOS) library`), func(m []string, _ string) string {
			pkg := map[string]string{"GDAL": "gdal-bin", "GEOS": "libgeos-c1v5"}[m[1]]
			return fmt.Sprintf("the base lacks %s: [tool.jubako] packages = [\"%s\"]", m[1], pkg)
		}},
		{re(`ModuleNotFoundError: No module named '([^']+)'`), Says(`the image has no module %s: is it locked, in a group or extra ` +
			`that this profile installs, and is the settings module meant for it? [tool.jubako] groups, extras, env`)},

		// What the sandbox does not give.
		{re(`(?:PermissionError|FileNotFoundError|OSError): \[Errno \d+\] [^:]+: '([^']+)'`), func(m []string, _ string) string {
			rel, below := strings.CutPrefix(m[1], a.Workdir+"/")
			if !below {
				return ""
			}
			if i := strings.LastIndexByte(rel, '/'); i > 0 {
				rel = rel[:i]
			}
			return fmt.Sprintf("if the settings want a folder to write to, name it: [tool.jubako] writable = [\"%s\"]", rel)
		}},
		{re(`Network is unreachable|Name or service not known|Temporary failure in name resolution|Connection refused`), Says(
			`steps have no network: let the settings connect to nothing while they are imported, or give them other values with ` +
				a.Table + ` env = { … }`)},
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
