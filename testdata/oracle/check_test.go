//go:build oracle

package oracle

import (
	"os"
	"path/filepath"
	"strings"
)

// otherFormats installs from what uv exports, and finds the environment that the lock itself gives.
func (in *install) otherFormats(want map[string]node) {
	in.t.Helper()
	index := liveHosts(in.t)[0] + "simple"
	for _, name := range []string{"pylock.toml", "requirements.txt"} {
		export := append([]string{setting(in.t, "ORACLE_UV"), "export", "-q", "--frozen", "--no-default-groups", "--format", name, "-o", name, "--python", in.py.path}, in.args...)
		if out := run(in.app, nil, export...); out.err != nil {
			in.t.Fatalf("uv export: %v", out)
		}
		plain := &install{c: in.c, t: in.t, py: in.py, machine: in.machine, libc: in.libc, app: in.app, base: in.base}
		got := plain.jubako([]string{"--lock", filepath.Join(in.app, name), "--set", `index="` + index + `"`})
		if lines := diffTrees(want, got, func(string, node, node) bool { return false }); len(lines) > 0 {
			in.t.Errorf("from %s (- from uv.lock, + from it):\n%s", name, strings.Join(lines[:min(len(lines), 40)], "\n"))
		}
		if err := os.Remove(filepath.Join(in.app, name)); err != nil {
			in.t.Fatal(err)
		}
	}
}

// check uses the environment that jubako made, at its place: uv finds nothing to do in it and nothing wrong with it,
// Python compiles it, every module can be imported that can be imported from uv's, every program says --help.
func (in *install) check(total *counts) {
	in.t.Helper()
	const python = "/app/.venv/bin/python"
	for _, args := range [][]string{
		{setting(in.t, "ORACLE_UV"), "pip", "check", "-q", "--python", python},
		append([]string{setting(in.t, "ORACLE_UV"), "sync", "--frozen", "--check", "--no-default-groups", "--no-install-local", "--inexact", "--python-platform", in.platform()}, in.args...),
		{python, "-m", "compileall", "-q", "/app/.venv/lib"},
	} {
		if out := at(in.t, in.venv, args...); out.err != nil {
			in.t.Errorf("%s: %v", strings.Join(args, " "), out)
		}
	}
	script, err := os.ReadFile("use.py")
	if err != nil {
		in.t.Fatal(err)
	}
	ours := at(in.t, in.venv, python, "-B", "-c", string(script))
	if ours.err != nil {
		in.t.Fatal(ours)
	}
	if out := at(in.t, in.app, append([]string{setting(in.t, "ORACLE_UV"), "sync", "-q", "--frozen", "--no-default-groups", "--python", in.py.path}, append(in.local(), in.args...)...)...); out.err != nil {
		in.t.Fatal(out)
	}
	theirs := at(in.t, in.app, python, "-B", "-c", string(script))
	if theirs.err != nil {
		in.t.Fatal(theirs)
	}
	for _, line := range diffLines(theirs.stdout, ours.stdout) {
		in.t.Errorf("(- from uv's environment, + from jubako's) %s", line)
	}
	for line := range strings.Lines(ours.stdout) {
		switch what, result, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case what == "module":
			total.add("modules", 1)
		case what == "program":
			total.add("programs", 1)
		default:
			in.t.Errorf("use.py says %s %s", what, result)
		}
	}
}
