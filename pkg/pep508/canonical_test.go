package pep508

import (
	"fmt"
	"testing"
)

// TestCanonical has the spellings that uv gives markers in the metadata that it writes.
func TestCanonical(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"python_version >= '3.8'": "python_full_version >= '3.8'",
		"sys_platform == 'linux' and python_version > '3.10'":                          "python_full_version >= '3.11' and sys_platform == 'linux'",
		"python_version == '3.12' or python_version < '3.0'":                           "python_full_version < '3' or python_full_version == '3.12.*'",
		"python_version <= '3.12'":                                                     "python_full_version < '3.13'",
		"python_version != '3.12'":                                                     "python_full_version != '3.12.*'",
		"python_version ~= '3.12'":                                                     "python_full_version >= '3.12' and python_full_version < '4'",
		"python_full_version >= '3.12.0'":                                              "python_full_version >= '3.12'",
		"python_full_version == '3.12.1'":                                              "python_full_version == '3.12.1'",
		"platform_system == 'Linux'":                                                   "sys_platform == 'linux'",
		"os_name == 'posix' and (sys_platform == 'linux' or sys_platform == 'darwin')": "os_name == 'posix' and (sys_platform == 'darwin' or sys_platform == 'linux')",
		"'linux' in sys_platform":                                                      "'linux' in sys_platform",
		"implementation_name == 'cpython' and python_version < '3.13'":                 "python_full_version < '3.13' and implementation_name == 'cpython'",
		"platform_python_implementation != 'PyPy'":                                     "platform_python_implementation != 'PyPy'",
		"sys_platform != 'win32' or python_version >= '3.12'":                          "python_full_version >= '3.12' or sys_platform != 'win32'",
		"python_version > '3'":                                                         "python_full_version >= '3.1'",
		"python_version < '4'":                                                         "python_full_version < '4'",
		"extra == 'more' and python_version < '3.11'":                                  "python_full_version < '3.11' and extra == 'more'",
		"(sys_platform == 'linux' and os_name == 'posix') and sys_platform == 'linux'": "os_name == 'posix' and sys_platform == 'linux'",
		"sys_platform == 'linux' and sys_platform == 'linux'":                          "sys_platform == 'linux'",
	} {
		m, err := ParseMarker(text)
		if text == "" {
			m, err = Marker{}, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		c := m.Canonical()
		if got := c.String(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		for _, python := range []string{"3.8.0", "3.10.4", "3.11.0", "3.12.0", "3.12.1", "3.13.0", "4.0.0"} {
			env, err := LinuxEnv(python, "x86_64")
			if err != nil {
				t.Fatal(err)
			}
			for _, extra := range []string{"", "more"} {
				env.Extras = SetOf(extra)
				if m.Eval(&env) != c.Eval(&env) {
					t.Errorf("%q and %q differ for Python %s", text, want, python)
				}
			}
		}
	}
}

// FuzzCanonical: a marker's canonical form holds where the marker does (on a release: of a candidate uv changes what some
// say), and is its own canonical form.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"python_version < '3.0' or extra == 'x'", "(os_name == 'a' and python_version ~= '3.1') or platform_system != 'Linux'", "'3' in python_version and python_version == '3.8'", "python_version > '3.9.1'", "python_full_version ~= '3.8.0'", "python_full_version == '== '"} {
		f.Add(s)
	}
	var envs []Env
	for _, python := range []string{"2.7.18", "3.0.0", "3.8.1", "3.9.0", "3.12.9", "4.1.0"} {
		for _, machine := range []string{"x86_64", "aarch64"} {
			env, err := LinuxEnv(python, machine)
			if err != nil {
				f.Fatal(err)
			}
			envs = append(envs, env)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMarker(text)
		if err != nil {
			return
		}
		c := m.Canonical()
		for i := range envs {
			if m.Eval(&envs[i]) != c.Eval(&envs[i]) {
				t.Errorf("%s and %s differ for %s", m, c, fmt.Sprint(envs[i].PythonFullVersion()))
			}
		}
		if again := c.Canonical().String(); again != c.String() {
			t.Errorf("%s becomes %s", c, again)
		}
	})
}
