// Package maintscript reads maintainer scripts (Debian Policy, chapter 6) and says which commands a first installation
// would run, without running any of them: conditions that depend on the script's arguments, on versions and on files are
// decided, and where one cannot be, both ways are taken.
//
// It imports nothing of jubako.
package maintscript

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// Machine is what a script would find around itself. Every function may be nil, and its questions are then open.
type Machine struct {
	// Args are the script's arguments: "configure", "".
	Args []string
	// Env holds variables that are set: DPKG_MAINTSCRIPT_PACKAGE.
	Env map[string]string
	// Exists says whether a test(1) of a file (-e, -d, -f, -h, -x …) holds.
	Exists func(test byte, path string) bool
	// HasProgram says whether PATH leads to a program.
	HasProgram func(name string) bool
	// Compare orders two versions, as dpkg does.
	Compare func(a, b string) int
	// Debconf gives the answer to a question of debconf(7) that nobody has answered: its default.
	Debconf func(question string) (string, bool)
	// Answers are those that scripts have given (db_set); they go before Debconf's. Scripts that share a map see one
	// another's, as a package's config and postinst do. It may be nil.
	Answers map[string]Arg
}

// Command is a command that would run.
type Command struct {
	Args []Arg
	// Maybe says that it depends on what is not known whether the command runs.
	Maybe bool
}

// Write stands as the program of what is no command: a file that a command's output is redirected to.
const Write = ">"

// Arg is an argument; it is not Known where only a shell could tell.
type Arg struct {
	Text  string
	Known bool
}

// Name is the program, without its folder; "" where it is not known.
func (c Command) Name() string {
	if len(c.Args) == 0 || !c.Args[0].Known {
		return ""
	}
	return path.Base(c.Args[0].Text)
}

const (
	maxCommands = 20_000
	maxSteps    = 200_000
)

// ErrTooLong is for a script that runs more commands than any should.
var ErrTooLong = errors.New("it runs too many commands")

// Trace gives the commands in the order in which they would run, without those that only decide something (test, which).
func Trace(script []byte, m Machine) ([]Command, error) {
	body, err := parse(string(script))
	if err != nil {
		return nil, err
	}
	t := &tracer{m: m, vars: make(map[string]Arg), functions: make(map[string][]node), args: m.Args, known: true}
	for k, v := range m.Env {
		t.vars[k] = Arg{v, true}
	}
	t.list(body)
	if t.steps > maxSteps || len(t.commands) > maxCommands {
		return nil, ErrTooLong
	}
	return t.commands, nil
}

// truth is what is known of a status.
type truth int8

const (
	no truth = iota
	yes
	open
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	if t == open {
		return open
	}
	return 1 - t
}

type tracer struct {
	m         Machine
	vars      map[string]Arg
	functions map[string][]node
	args      []string
	known     bool // whether args are
	commands  []Command
	maybe     int // depth of branches that may not be taken
	depth     int
	steps     int
	ended     bool // by exit, or within a function by return
	returned  bool
}

func (t *tracer) stop() bool {
	t.steps++
	return t.ended || t.returned || t.steps > maxSteps || len(t.commands) > maxCommands
}

func (t *tracer) list(body []node) truth {
	status := yes
	for _, n := range body {
		if t.stop() {
			break
		}
		status = t.node(n)
	}
	return status
}

// perhaps runs what may or may not be run. Variables that differ afterwards are not known any more.
func (t *tracer) perhaps(run func()) {
	before := make(map[string]Arg, len(t.vars))
	for k, v := range t.vars {
		before[k] = v
	}
	t.maybe++
	run()
	t.maybe--
	t.ended, t.returned = false, false
	for k, v := range t.vars {
		if old, ok := before[k]; !ok || old != v {
			t.vars[k] = Arg{}
		}
	}
}

func (t *tracer) node(n node) truth {
	if t.depth++; t.depth > maxNested*4 {
		t.depth--
		t.steps = maxSteps + 1
		return open
	}
	defer func() { t.depth-- }()
	switch n := n.(type) {
	case command:
		t.write(n.writes)
		return t.command(n)
	case written:
		t.write(n.files)
		return t.node(n.of)
	case ifNode:
		return t.branch(t.list(n.cond), n.then, n.otherwise)
	case andOr:
		left := t.node(n.left)
		if n.or {
			left = left.not()
		}
		switch left {
		case no:
			return truthOf(n.or)
		case yes:
			if t.stop() {
				return open
			}
			return t.node(n.right)
		}
		t.perhaps(func() { t.node(n.right) })
		return open
	case not:
		return t.node(n.of).not()
	case pipeline:
		for _, p := range n.parts {
			t.node(p)
		}
		return open
	case group:
		return t.list(n.body)
	case function:
		t.functions[n.name] = n.body
		return yes
	case caseNode:
		return t.caseNode(n)
	case forNode:
		return t.forNode(n)
	case whileNode:
		t.perhaps(func() {
			t.list(n.cond)
			t.list(n.body)
		})
		return open
	}
	return open
}

func (t *tracer) branch(cond truth, then, otherwise []node) truth {
	switch cond {
	case yes:
		return t.list(then)
	case no:
		return t.list(otherwise)
	}
	t.perhaps(func() { t.list(then) })
	t.perhaps(func() { t.list(otherwise) })
	return open
}

func (t *tracer) caseNode(n caseNode) truth {
	subject := t.expand(n.subject)
	var doubtful bool
	for _, a := range n.arms {
		match := no
		for _, p := range a.patterns {
			pattern := t.expand(p)
			switch {
			case pattern.Known && pattern.Text == "*":
				match = yes
			case !subject.Known || !pattern.Known:
				match = max(match, open)
			default:
				if ok, err := path.Match(strings.ReplaceAll(pattern.Text, "/", "\x01"), strings.ReplaceAll(subject.Text, "/", "\x01")); ok && err == nil {
					match = yes
				}
			}
			if match == yes {
				break
			}
		}
		switch {
		case match == yes && !doubtful:
			return t.list(a.body)
		case match != no:
			doubtful = true
			t.perhaps(func() { t.list(a.body) })
			if match == yes {
				return open
			}
		}
	}
	if doubtful {
		return open
	}
	return yes
}

func (t *tracer) forNode(n forNode) truth {
	for _, w := range n.words {
		if !t.plain(w) {
			t.vars[n.name] = Arg{}
			t.perhaps(func() { t.list(n.body) })
			continue
		}
		for _, f := range t.fields(w) {
			if t.stop() {
				return open
			}
			if f.Known && strings.ContainsAny(f.Text, "*?[") {
				f = Arg{}
			}
			t.vars[n.name] = f
			t.list(n.body)
		}
	}
	return yes
}

// plain says whether a word's value is known.
func (t *tracer) plain(w word) bool { return t.expand(w).Known }

// fields expands a word, and splits it where its variables are not quoted.
func (t *tracer) fields(w word) []Arg {
	split := false
	for _, p := range w {
		if p.name == "@" || p.name == "*" {
			if !t.known {
				return []Arg{{}}
			}
			if len(w) == 1 {
				var all []Arg
				for _, a := range t.args {
					all = append(all, Arg{a, true})
				}
				return all
			}
		}
		split = split || p.name != "" && !p.quoted
	}
	a := t.expand(w)
	if !split || !a.Known {
		return []Arg{a}
	}
	var all []Arg
	for _, f := range strings.Fields(a.Text) {
		all = append(all, Arg{f, true})
	}
	return all
}

// expand gives a word's value.
func (t *tracer) expand(w word) Arg {
	var b strings.Builder
	for _, p := range w {
		switch {
		case p.unknown:
			return Arg{}
		case p.name != "":
			v := t.variable(p)
			if !v.Known {
				return Arg{}
			}
			b.WriteString(v.Text)
		default:
			b.WriteString(p.text)
		}
		const longest = 64 << 10
		if b.Len() > longest {
			return Arg{}
		}
	}
	return Arg{b.String(), true}
}

func (t *tracer) variable(p part) Arg {
	v, set := t.vars[p.name]
	switch c := p.name[0]; {
	case p.name == "@" || p.name == "*":
		v, set = Arg{strings.Join(t.args, " "), t.known}, true
	case p.name == "#" || p.name == "?" || p.name == "$" || p.name == "!" || p.name == "-" || p.name == "0":
		return Arg{}
	case c >= '1' && c <= '9':
		if !t.known {
			return Arg{}
		}
		i := int(c - '1')
		if set = len(p.name) == 1 && i < len(t.args); set {
			v = Arg{t.args[i], true}
		}
	}
	if !set {
		// What nobody has set is empty, unless it may come from outside.
		v = Arg{"", len(t.vars) > 0 && !strings.HasPrefix(p.name, "RET") && p.name != "PATH" && p.name != "HOME"}
	}
	if p.op == "" || !v.Known {
		return v
	}
	switch p.op {
	case "-", ":-":
		if v.Text == "" {
			return Arg{p.alt, true}
		}
		return v
	}
	return Arg{t.trim(v.Text, p.op, p.alt), true}
}

// trim takes away the shortest or longest match of a pattern from the beginning or the end.
func (t *tracer) trim(s, op, pattern string) string {
	cuts := make([]int, 0, len(s)+1)
	for i := range len(s) + 1 {
		cuts = append(cuts, i)
	}
	front := op[0] == '#'
	if front == (len(op) == 2) {
		slices.Reverse(cuts)
	}
	flat := func(x string) string { return strings.ReplaceAll(x, "/", "\x01") }
	for _, i := range cuts {
		gone, kept := s[i:], s[:i]
		if front {
			gone, kept = s[:i], s[i:]
		}
		if ok, err := path.Match(flat(pattern), flat(gone)); err == nil && ok {
			return kept
		}
	}
	return s
}

// write notes that output goes to files, as commands of the name Write.
func (t *tracer) write(files []word) {
	for _, f := range files {
		if a := t.expand(f); !a.Known || !strings.HasPrefix(a.Text, "/dev/") {
			t.commands = append(t.commands, Command{Args: []Arg{{Write, true}, a}, Maybe: t.maybe > 0})
		}
	}
}

func (t *tracer) command(c command) truth {
	status := yes
	if len(c.words) == 0 || t.expand(c.words[0]).Text != "env" {
		for _, a := range c.assign {
			v := t.expand(a.value)
			if len(c.words) == 0 {
				t.vars[a.name] = v
			}
			if !v.Known {
				status = open
			}
		}
	}
	if len(c.words) == 0 {
		return status
	}
	var args []Arg
	for _, w := range c.words {
		args = append(args, t.fields(w)...)
	}
	if len(args) == 0 {
		return open
	}
	if len(args) == 1 && args[0].Known && args[0].Text == "" {
		return open
	}
	return t.run(args)
}
