package pep517

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/jubako/jubako/pkg/step"
)

// missing is something that builds look for, by a pattern of a line that they print without it, and the Debian packages that
// have it.
type missing struct {
	what     string
	pattern  string
	packages []string
}

// wants is what builds of real projects were seen to miss, in Debian's words.
var wants = []missing{
	{"a C compiler", `(?:command|program) ['"]?(?:x86_64-linux-gnu-|aarch64-linux-gnu-)?(?:gcc|cc|clang)(?:-\d+)?['"]? (?:failed: No such file|not found)|(?:gcc|cc): (?:command )?not found|No such file or directory: ['"](?:gcc|cc|x86_64-linux-gnu-gcc|aarch64-linux-gnu-gcc)['"]|Unknown compiler\(s\): \[\[?['"](?:cc|icc)|No CMAKE_C_COMPILER could be found|unable to execute ['"]?(?:gcc|cc)\b`, []string{"gcc", "libc6-dev"}},
	{"a C++ compiler", `(?:command|program) ['"]?(?:x86_64-linux-gnu-|aarch64-linux-gnu-)?(?:g\+\+|c\+\+)['"]? (?:failed: No such file|not found)|(?:g\+\+|c\+\+): (?:command )?not found|No such file or directory: ['"](?:g\+\+|c\+\+)['"]|No CMAKE_CXX_COMPILER could be found|cannot execute ['"]?cc1plus`, []string{"g++"}},
	{"the C library's headers", `fatal error: (?:stdio|stdlib|string|limits|errno|sys/types|assert|math)\.h: No such file|cannot find (?:crti|Scrt1|crt1)\.o`, []string{"libc6-dev"}},
	{"pg_config of PostgreSQL", `pg_config (?:executable )?(?:not found|is required)|libpq-fe\.h: No such file|No such file or directory: ['"]pg_config['"]`, []string{"libpq-dev"}},
	{"the MySQL client library", `mysql_config['"]? ?(?:not found|: not found)|Can not find valid pkg-config name|mysql(?:/mysql)?\.h: No such file|mysqlclient.*pkg-config`, []string{"default-libmysqlclient-dev", "pkg-config"}},
	{"pkg-config", `(?:pkg-config|pkgconf)['"]?:? (?:command )?not found|No such file or directory: ['"]pkg-config['"]|Did not find pkg-config|Found pkg-config: NO`, []string{"pkg-config"}},
	{"cairo", `cairo\.h: No such file|Dependency ["']cairo["'] not found|Package ['"]?cairo['"]?,? (?:required by|was not found|not found)`, []string{"libcairo2-dev", "pkg-config"}},
	{"libffi's headers", `ffi\.h: No such file|Package ['"]?libffi['"]? was not found`, []string{"libffi-dev"}},
	{"libxml2 and libxslt", `libxml/\w+\.h: No such file|libxslt/\w+\.h: No such file|xmlsec|Please make sure the libxml2 and libxslt development packages are installed`, []string{"libxml2-dev", "libxslt1-dev"}},
	{"libjpeg's headers", `jpeglib\.h: No such file|The headers or library files could not be found for jpeg`, []string{"libjpeg-dev"}},
	{"zlib's headers", `zlib\.h: No such file|The headers or library files could not be found for zlib|cannot find -lz\b`, []string{"zlib1g-dev"}},
	{"OpenSSL's headers", `openssl/\w+\.h: No such file|cannot find -lssl|Could not find directory of OpenSSL installation`, []string{"libssl-dev", "pkg-config"}},
	{"OpenLDAP's headers", `(?:ldap|lber)\.h: No such file|cannot find -lldap`, []string{"libldap-dev", "libsasl2-dev"}},
	{"Cyrus SASL's headers", `sasl(?:/sasl)?\.h: No such file`, []string{"libsasl2-dev"}},
	{"Kerberos", `krb5-config['"]?:? (?:command )?not found|No such file or directory: ['"]krb5-config['"]|(?:gssapi|krb5)(?:/\w+)?\.h: No such file`, []string{"libkrb5-dev"}},
	{"gdal-config", `gdal-config['"]?:? (?:command )?not found|No such file or directory: ['"]gdal-config['"]|gdal\.h: No such file`, []string{"libgdal-dev"}},
	{"GEOS", `geos-config['"]?:? (?:command )?not found|geos_c\.h: No such file`, []string{"libgeos-dev"}},
	{"libyaml's headers", `yaml\.h: No such file`, []string{"libyaml-dev"}},
	{"libpcre2's headers", `pcre2\.h: No such file|pcre2-config: not found`, []string{"libpcre2-dev"}},
	{"libmemcached", `libmemcached/memcached\.h: No such file`, []string{"libmemcached-dev"}},
	{"libcurl", `curl-config['"]?:? (?:command )?not found|Could not run curl-config|curl/curl\.h: No such file`, []string{"libcurl4-openssl-dev", "libssl-dev"}},
	{"ODBC", `sql(?:ext)?\.h: No such file`, []string{"unixodbc-dev"}},
	{"GMP, MPFR and MPC", `(?:gmp|mpfr|mpc)\.h: No such file`, []string{"libgmp-dev", "libmpfr-dev", "libmpc-dev"}},
	{"HDF5", `hdf5\.h: No such file`, []string{"libhdf5-dev", "pkg-config"}},
	{"SQLite's headers", `sqlite3\.h: No such file`, []string{"libsqlite3-dev"}},
	{"libsnappy", `snappy(?:-c)?\.h: No such file`, []string{"libsnappy-dev"}},
	{"libmagickwand", `wand/MagickWand\.h: No such file`, []string{"libmagickwand-dev"}},
	{"ImageMagick's or libheif's headers", `libheif/heif\.h: No such file`, []string{"libheif-dev"}},
	{"libgirepository", `Dependency ["']girepository-2\.0["'] not found|gobject-introspection-1\.0`, []string{"libgirepository-2.0-dev", "pkg-config"}},
	{"DBus", `dbus/dbus\.h: No such file|Dependency ["']dbus-1["'] not found`, []string{"libdbus-1-dev", "pkg-config"}},
	{"systemd's library", `systemd/sd-\w+\.h: No such file|Package ['"]?libsystemd['"]? was not found`, []string{"libsystemd-dev", "pkg-config"}},
	{"Rust", `can't find Rust compiler|Cargo, the Rust package manager, is not installed|rustc(?:['"] )?: (?:command )?not found|No such file or directory: ['"](?:cargo|rustc)['"]`, []string{"rustc", "cargo"}},
	{"CMake", `(?:CMake|cmake)['"]? (?:must be installed|not found|is not installed)|No such file or directory: ['"]cmake['"]|Problem with the CMake installation`, []string{"cmake"}},
	{"make", `No such file or directory: ['"]make['"]|make: (?:command )?not found`, []string{"make"}},
	{"a Fortran compiler", `Unknown compiler\(s\): \[\[['"]gfortran|gfortran['"]?:? (?:command )?not found`, []string{"gfortran"}},
	{"swig", `swig['"]?:? (?:command )?not found|unable to execute ['"]?swig|No such file or directory: ['"]swig['"]|command ['"]swig['"] failed`, []string{"swig"}},
	{"git", `No such file or directory: ['"]git['"]|git['"]?: (?:command )?not found|'git' is not installed|git is not installed`, []string{"git"}},
}

// advice are the remedies for what builds fail for.
func advice() step.Advice {
	re := regexp.MustCompile
	a := step.Advice{Table: "[tool.uv.extra-build-variables]", Without: "build the wheel elsewhere and name its folder with --find-links", Workdir: SourceRoot}
	a.More = []step.Cause{{Pattern: re(`(?i)setuptools[-_]scm was unable to detect version|can't find a suitable VCS|LookupError: .*unable to detect version`), Remedy: step.Says(
		"its version comes from a version control system, of which a build sees nothing: set SETUPTOOLS_SCM_PRETEND_VERSION, which builds are given")}}
	for _, m := range wants {
		var list []string
		for _, n := range m.packages {
			list = append(list, `"`+n+`"`)
		}
		if strings.HasSuffix(m.packages[0], "-dev") && m.packages[0] != "libc6-dev" { // whoever wants headers compiles
			list = append([]string{`"gcc"`, `"libc6-dev"`}, list...)
		}
		remedy := fmt.Sprintf("it needs %s: [tool.jubako] build-packages = [%s]", m.what, strings.Join(list, ", "))
		a.More = append(a.More, step.Cause{Pattern: re(m.pattern), Remedy: func([]string, string) string { return remedy }})
	}
	a.More = append(a.More,
		step.Cause{Pattern: re(`fatal error: Python\.h: No such file`), Remedy: step.Says(
			"the base's Python comes without its headers, or names another place for them: take a base that has them, as python:3.12-slim does")},
		step.Cause{Pattern: re(`fatal error: ([\w./+-]+\.h(?:pp)?): No such file`), Remedy: step.Says(
			"it needs the header %s: name the Debian package that has it in [tool.jubako] build-packages (apt-file search finds it)")},
		step.Cause{Pattern: re(`cannot find -l([\w.+-]+)`), Remedy: step.Says(
			"it links with lib%s: name the Debian package that has it, whose name ends in -dev, in [tool.jubako] build-packages")},
		step.Cause{Pattern: re(`^(?:ModuleNotFoundError: No module named|ImportError: cannot import name) '([^']+)'`), Remedy: step.Says(
			`it wants %s while it is built, and does not say so: name the package that has it in [tool.uv.extra-build-dependencies]; or hold setuptools back by build-constraint-dependencies under [tool.uv]`)},
		step.Cause{Pattern: re(`(lib[A-Za-z0-9_+.-]+\.so[0-9.]*): cannot open shared object file`), Remedy: step.Says(
			"what it runs while it is built wants %s: name the Debian package that has it in [tool.jubako] build-packages")},
		// What resolvers, sockets and the programs that use them say where there is no network.
		step.Cause{Pattern: re(`(?i)Temporary failure in name resolution|Name or service not known|Could not resolve host|Network is unreachable|Failed to establish a new connection|urlopen error|failed to (?:lookup address|download from)|spurious network error|Connection refused`),
			Remedy: step.Says("builds have no network: what it fetches has to be among its build requirements, in its source, or in build-packages")},
	)
	return a
}
