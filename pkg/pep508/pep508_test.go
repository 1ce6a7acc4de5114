package pep508

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// vectors are the answers of Python's own packaging library, but for <1.0.post456: there uv is followed, which lets no
// pre-release of 1.0 pass.
type vectors struct {
	Versions          [][3]any // text, canonical form, rank in the order
	Invalid           []string
	Good              []string    // the versions of the columns of Specifiers
	Specifiers        [][2]string // a specifier set, and for each version 1 or 0
	InvalidSpecifiers []string
}

func load(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func version(t testing.TB, s string) Version {
	t.Helper()
	v, err := ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersions(t *testing.T) {
	v := load(t)
	for _, a := range v.Versions {
		va := version(t, a[0].(string))
		if va.String() != a[1] {
			t.Errorf("%s is written %s, want %s", a[0], va, a[1])
		}
		for _, b := range v.Versions {
			want := 0
			if a[2].(float64) < b[2].(float64) {
				want = -1
			} else if a[2].(float64) > b[2].(float64) {
				want = 1
			}
			if got := va.Compare(version(t, b[0].(string))); got != want {
				t.Errorf("%s against %s: %d, want %d", a[0], b[0], got, want)
			}
		}
	}
	for _, s := range v.Invalid {
		var se *SyntaxError
		if _, err := ParseVersion(s); !errors.As(err, &se) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestSpecifiers(t *testing.T) {
	v := load(t)
	for _, row := range v.Specifiers {
		specs, err := ParseSpecifiers(row[0])
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSpecifiers(specs.String())
		if err != nil || !again.Same(specs) {
			t.Errorf("%s is written %s: %v", row[0], specs, err)
		}
		for i, s := range v.Good {
			if got, want := specs.Contains(version(t, s)), row[1][i] == '1'; got != want {
				t.Errorf("%s contains %s: %v, want %v", row[0], s, got, want)
			}
		}
	}
	if all, err := ParseSpecifiers(""); err != nil || !all.Contains(version(t, "1.0rc1")) {
		t.Errorf("the empty set: %v", err)
	}
	for _, s := range v.InvalidSpecifiers {
		if got, err := ParseSpecifiers(s); err == nil && s != "1.0," {
			t.Errorf("%q was read as %s", s, got)
		}
	}
}

// TestSpecifierTraps has what other readers of PEP 440 are known to get wrong.
func TestSpecifierTraps(t *testing.T) {
	for _, tc := range []struct {
		specs, version string
		want           bool
	}{
		{"<3.13", "3.13.0rc2", false},
		{"<3.13", "3.12.9", true},
		{"<3.13rc1", "3.13b1", true},
		{"==2!1.*", "1!0.5", false},
		{"==2!1.*", "2!1.5", true},
		{"!=1.0.*", "1", false},
		{"==1.0.*", "1", true},
		{"~=1.0.0", "1", true},
		{"~=1.0.0", "1.1", false},
		{"", "1.0", true},
		{"!=1.0", "1.0.post1", true},
		{">1.0", "1.0.post1", false},
		{">1.0", "1.0+cpu", false},
		{">1.0.post1", "1.0.post2", true},
		{"==1.0", "1.0+cpu", true},
		{"!=1.0", "1.0+cpu", false},
		{"==1.0+cpu", "1.0", false},
		{"==1.0+ubuntu-1", "1.0+ubuntu.1", true},
		{"<=1.0", "1.0+cpu", true},
		{"===1.0+CPU", "1.0+cpu", true},
		{"===1.0", "1.0.0", false},
		{">=1.0,", "1.1", true},
		{">= 1.0 , < 2", "1.1", true},
	} {
		specs, err := ParseSpecifiers(tc.specs)
		if err != nil {
			t.Errorf("%q: %v", tc.specs, err)
			continue
		}
		if got := specs.Contains(version(t, tc.version)); got != tc.want {
			t.Errorf("%q contains %s: %v", tc.specs, tc.version, got)
		}
	}
	if a, b := version(t, "1.0+ubuntu-1"), version(t, "1.0+ubuntu.1"); a.Compare(b) != 0 || a.String() != "1.0+ubuntu.1" {
		t.Errorf("%s and %s differ", a, b)
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{"Django": "django", "zope.interface": "zope-interface", "a__b--c..d": "a-b-c-d", "x": "x", "A_.B": "a-b"} {
		if got := Normalize(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// TestMarkers has uv's answers, which are not always PEP 508's.
func TestMarkers(t *testing.T) {
	env, err := LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	env.Extras = SetOf("extra-3-app-cpu", "pdf")
	env.Groups = SetOf("dev")
	for text, want := range map[string]bool{
		"python_version >= '3.12'":                                  true,
		"python_version < '3.12'":                                   false,
		"python_version == '3.12'":                                  true,
		"python_version == '3.12.*'":                                true,
		"python_full_version >= '3.12.10'":                          false,
		"python_full_version == '3.12.9'":                           true,
		"'3.11' < python_version":                                   true,
		"python_version in '3.11 3.12'":                             true,
		"python_version not in '3.11 3.12'":                         false,
		"sys_platform == 'linux'":                                   true,
		"sys_platform == 'win32'":                                   false,
		"sys_platform > 'darwin'":                                   false, // no order among strings
		"sys_platform >= 'linux'":                                   true,  // equality
		"sys_platform >= 'darwin'":                                  false,
		"'inu' in sys_platform":                                     true,
		"sys_platform in 'linux darwin'":                            true,
		"platform_machine == 'x86_64' and os_name == 'posix'":       true,
		"platform_machine == 'aarch64' or os_name == 'posix'":       true,
		"(os_name == 'nt' or os_name == 'posix') and os_name != ''": true,
		"implementation_name == 'cpython'":                          true,
		"platform_python_implementation != 'PyPy'":                  true,
		"os.name == 'posix'":                                        true,
		"python_implementation == 'CPython'":                        true,
		"extra == 'pdf'":                                            true,
		"extra == 'PDF'":                                            true,
		"extra != 'pdf'":                                            false,
		"extra == 'extra-3-app-cpu'":                                true,
		"extra == 'extra-3-app-gpu'":                                false,
		"'pdf' in extras":                                           true,
		"'dev' in dependency_groups":                                true,
		"'docs' not in dependency_groups":                           true,
		"platform_release == ''":                                    true,
	} {
		m, err := ParseMarker(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := m.Eval(&env); got != want {
			t.Errorf("%s is %v", text, got)
		}
		again, err := ParseMarker(m.String())
		if err != nil || again.Eval(&env) != want {
			t.Errorf("%s is written %s: %v", text, m, err)
		}
	}
	for _, s := range []string{"sys_platform", "sys_platform ==", "== 'x'", "(os_name == 'x'", "os_name == 'x' and", "os_name = 'x'", "nothing == 'x'", strings.Repeat("(", 500)} {
		if m, err := ParseMarker(s); err == nil {
			t.Errorf("%.40q was read as %s", s, m)
		}
	}
}

// TestSenselessComparisons: uv drops them, and so do we; "or" keeps its other side.
func TestSenselessComparisons(t *testing.T) {
	env, err := LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"os_name ~= '1'":                             true,
		"'3.8' == '3.8'":                             true,
		"python_version == 'three'":                  true,
		"python_version in '3.10,3.11'":              true,
		"sys_platform == os_name":                    true,
		"extra in 'a'":                               true,
		"sys_platform == 'win32' or os_name ~= '1'":  false,
		"sys_platform == 'linux' and os_name ~= '1'": true,
		"(os_name ~= '1') and 'a' == 'b'":            true,
	} {
		if m, err := ParseMarker(text); err != nil || m.Eval(&env) != want {
			t.Errorf("%s is not %v: %v", text, want, err)
		}
	}
	if m, err := ParseMarker("sys_platform === 'linux'"); err == nil {
		t.Errorf("=== on a string was read as %s", m)
	}
}

func TestRequirements(t *testing.T) {
	for in, want := range map[string]string{
		"django":                           "django",
		"Django >= 5, <6":                  "Django<6, >=5",
		"uvicorn[standard,Extra]>=0.30":    "uvicorn[extra,standard]>=0.30",
		"a (>=1)":                          "a>=1",
		"a @ https://x/a-1.whl":            "a @ https://x/a-1.whl",
		"a[b]@https://x/a;c#sha256=0":      "a[b] @ https://x/a;c#sha256=0",
		"a @ https://x/a ; os_name == 'x'": "a @ https://x/a ; os_name == 'x'",
		"a; os_name == 'posix'":            "a; os_name == 'posix'",
		"a[x]==1.0 ; python_version < '4'": "a[x]==1.0; python_version < '4'",
	} {
		r, err := ParseRequirement(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if !sameText(r.String(), want) {
			t.Errorf("%s is written %s, want %s", in, r, want)
		}
	}
	for _, s := range []string{"", "-a", "a b", "a[", "a[x", "a>=", "a @", "a;os_name", "a>=1 <2"} {
		if r, err := ParseRequirement(s); err == nil {
			t.Errorf("%q was read as %s", s, r)
		}
	}
}

// sameText compares requirements without regard to white space and the order of clauses.
func sameText(a, b string) bool {
	norm := func(s string) string {
		head, marker, _ := strings.Cut(s, ";")
		parts := strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' })
		return strings.Join(parts, "") + ";" + strings.TrimSpace(marker)
	}
	ra, err1 := ParseRequirement(a)
	rb, err2 := ParseRequirement(b)
	if err1 == nil && err2 == nil && ra.Specifiers.Same(rb.Specifiers) {
		ra.Specifiers, rb.Specifiers = nil, nil
		return norm(ra.String()) == norm(rb.String())
	}
	return norm(a) == norm(b)
}

func FuzzVersion(f *testing.F) {
	for _, s := range load(f).Good {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		again, err := ParseVersion(v.String())
		if err != nil || again.Compare(v) != 0 {
			t.Errorf("%q is written %q, which is read as %v, %v", s, v, again, err)
		}
	})
}

func FuzzSpecifiers(f *testing.F) {
	for _, row := range load(f).Specifiers {
		f.Add(row[0], "1.0")
	}
	f.Fuzz(func(t *testing.T, s, v string) {
		specs, err := ParseSpecifiers(s)
		ver, err2 := ParseVersion(v)
		if err != nil || err2 != nil {
			return
		}
		again, err := ParseSpecifiers(specs.String())
		if err != nil || again.Contains(ver) != specs.Contains(ver) {
			t.Errorf("%q is written %q: %v", s, specs, err)
		}
	})
}

func FuzzMarker(f *testing.F) {
	for _, s := range []string{"python_version >= '3.12' and (extra == 'x' or os_name != \"nt\")", "'a' in extras", "sys_platform in 'linux darwin'", "python_version in '3.1 3.2'",
		// From real locks.
		"(platform_machine == 'x86_64' and sys_platform == 'linux' and extra == 'extra-6-vllm-flash') or (extra == 'extra-7-nemo-rl-fsdp' and extra == 'extra-7-nemo-rl-mcore')",
		"platform_python_implementation != 'PyPy' and python_full_version < '3.13'", "(platform_machine != 'aarch64' and sys_platform == 'linux') or sys_platform not in 'darwin, linux'",
	} {
		f.Add(s)
	}
	env, err := LinuxEnv("3.12.9", "x86_64")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMarker(s)
		if err != nil {
			return
		}
		again, err := ParseMarker(m.String())
		if m.String() != "" && (err != nil || again.Eval(&env) != m.Eval(&env)) {
			t.Errorf("%q is written %q: %v", s, m, err)
		}
	})
}

func FuzzRequirement(f *testing.F) {
	for _, s := range []string{"uvicorn[standard]>=0.30; sys_platform == 'linux'", "a @ https://x/y ; extra == 'z'", "a (>=1,<2)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRequirement(s)
		if err != nil {
			return
		}
		again, err := ParseRequirement(r.String())
		if err != nil || Normalize(again.Name) != Normalize(r.Name) {
			t.Errorf("%q is written %q: %v", s, r, err)
		}
	})
}
