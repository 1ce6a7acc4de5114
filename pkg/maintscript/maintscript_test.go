package maintscript

import (
	"strings"
	"testing"
)

func machine() Machine {
	return Machine{
		Args: []string{"configure", ""}, Env: map[string]string{"DPKG_MAINTSCRIPT_PACKAGE": "x-1.2"},
		Exists:     func(op byte, p string) bool { return p == "/there" && op != 'd' },
		HasProgram: func(name string) bool { return name == "have" },
		Compare:    strings.Compare,
		Debconf:    func(q string) (string, bool) { return "answer", q == "x/q" },
	}
}

// words tells of a trace what matters: commands with unknown words as ?, those that may not run with a ~ before them.
func words(c []Command) string {
	var lines []string
	for _, c := range c {
		var w []string
		for _, a := range c.Args {
			if a.Known {
				w = append(w, a.Text)
			} else {
				w = append(w, "?")
			}
		}
		line := strings.Join(w, " ")
		if c.Maybe {
			line = "~" + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func TestTrace(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"plain":         {"#!/bin/sh\nset -e\nrun a 'b c' \"d $1\"\n", "run a b c d configure"},
		"continued":     {"run a \\\n  b\\\nc", "run a bc"},
		"comment":       {"run # not this\n#nor this\nrun a#b", "run; run a#b"},
		"if":            {"if [ \"$1\" = configure ] && [ -z \"$2\" ]; then first; elif x; then y; else z; fi", "first"},
		"else":          {"if [ \"$1\" != configure ]\nthen a\nelse b\nfi", "b"},
		"unknown if":    {"if foo; then a; else b; fi; c", "foo; ~a; ~b; c"},
		"case":          {"case \"$1\" in\n upgrade|install) a;;\n conf*) b;;\n *) c ;;\nesac", "b"},
		"case paren":    {"case $1 in (configure) a;; esac", "a"},
		"case unknown":  {"case $(x) in a) p;; *) q;; esac", "~p; ~q"},
		"exit":          {"a\nif [ -n \"$2\" ]; then exit 1; fi\nb\nexit 0\nc", "a; b"},
		"exit perhaps":  {"if x; then exit 0; fi\nb", "x; b"},
		"for":           {"for i in a b; do for j in 1 2; do run $i$j; done; done", "run a1; run a2; run b1; run b2"},
		"for unknown":   {"for i in $(ls); do run $i; done", "~run ?"},
		"for split":     {"l='a b'; for i in $l c; do run $i; done", "run a; run b; run c"},
		"variables":     {"p=10; run $p ${q:-alt} ${DPKG_MAINTSCRIPT_PACKAGE##*-} ${DPKG_MAINTSCRIPT_PACKAGE%-*}", "run 10 alt 1.2 x"},
		"unknown value": {"v=$(date); run $v \"x$v\"", "run ? ?"},
		"backquote":     {"run `date` b", "run ? b"},
		"branch value":  {"v=1; if x; then v=2; fi; run $v", "x; run ?"},
		"function":      {"f() { run \"$1\" \"$#\"; }\nf a\nf b", "run a ?; run b ?"},
		"return":        {"f() {\n if [ \"$1\" = y ]; then return 0; fi\n return 1\n}\nif f y; then a; else b; fi; f n || c", "a; c"},
		"all arguments": {"f() { run \"$2\"; }\nf \"$@\"", "run "},
		"and or":        {"false || a; true && b; true || c; x && d", "a; b; x; ~d"},
		"not":           {"if ! [ -e /there ]; then a; fi; if ! test -d /there; then b; fi", "b"},
		"which":         {"if which have >/dev/null 2>&1; then a; fi; if command -v lack; then b; fi", "a"},
		"versions":      {"if dpkg --compare-versions \"$2\" lt 3; then a; fi; if dpkg --compare-versions \"$2\" lt-nl 3; then b; fi; if dpkg --compare-versions 2 ge 1; then c; fi", "a; c"},
		"heredoc":       {"cat <<EOF >/etc/f\nit's not a quote\nEOF\nrun", "> /etc/f; cat; run"},
		"heredoc tabs":  {"cat <<-'X'\n\tisn't\n\tX\nrun", "cat; run"},
		"redirection":   {"echo x > $D/f; echo y >/dev/null; { a; } >> /g 2>&1", "> /f; > /g; a"},
		"debconf":       {"db_get x/q; run $RET; db_get x/r; run $RET", "run answer; run ?"},
		"answers":       {"db_set x/q \"$1\"; db_get x/q; run $RET; if x; then db_set x/q z; fi; db_get x/q; run $RET", "run configure; x; run ?"},
		"pipe":          {"a | b; c", "a; b; c"},
		"while":         {"while read x; do run $x; done; b", "~run ?; b"},
		"subshell":      {"(a; b) || true", "a; b"},
		"set":           {"set -- p q; run $1; shift; run $1", "run p; run q"},
		"no exec":       {"exec run a", "run a"},
	} {
		m := machine()
		m.Answers = make(map[string]Arg)
		got, err := Trace([]byte(tc.script), m)
		if err != nil || words(got) != tc.want {
			t.Errorf("%s: %v\n%s\n%s", name, err, words(got), tc.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, script := range map[string]string{
		"quote": "echo 'x", "double": `echo "x`, "paren": "( a", "fi": "if x; then y", "dollar": "echo $(x", "brace": "echo ${x", "stray": "fi", "case": "case x in a) b", "do": "for x in a; b; done",
		"deep": strings.Repeat("(", 1000) + "a" + strings.Repeat(")", 1000), "long": strings.Repeat("x\n", 1<<20),
		"bomb":      "for a in 1 2 3 4 5 6 7 8 9 0; do for b in 1 2 3 4 5 6 7 8 9 0; do for c in 1 2 3 4 5 6 7 8 9 0; do for d in 1 2 3 4 5 6 7 8 9 0; do for e in 1 2 3 4 5 6 7 8 9; do x; done; done; done; done; done",
		"recursion": "f() { f; f; }\nf",
	} {
		if got, err := Trace([]byte(script), machine()); err == nil {
			t.Errorf("%s passes: %d commands", name, len(got))
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("if [ \"$1\" = configure ]; then for i in a b; do update-alternatives --install /x $i /y 1; done; fi")
	f.Add("case \"$1\" in a|b) x=${1%%-*};; *) f() { return 1; }; f \"$@\" || cat <<E\nE\n;; esac")
	f.Add("\\")
	f.Add("v=$(a \"$(b 'c')\"); ! [ -e /x -a -n \"$v\" ] && { y; } > /z")
	f.Fuzz(func(t *testing.T, script string) {
		got, err := Trace([]byte(script), machine())
		if err == nil && len(got) > maxCommands {
			t.Errorf("%d commands", len(got))
		}
	})
}
