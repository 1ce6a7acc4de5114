package maintscript

import "slices"

// run decides what it can of a command, and notes every other.
func (t *tracer) run(args []Arg) truth {
	c := Command{Args: args, Maybe: t.maybe > 0}
	name := c.Name()
	if body, ok := t.functions[name]; ok && args[0].Known {
		return t.call(body, args[1:])
	}
	switch name {
	case "true", ":":
		return yes
	case "false":
		return no
	case "exit":
		t.ended = true
		return yes
	case "return":
		t.returned = true
		if len(args) > 1 && args[1].Known {
			return truthOf(args[1].Text == "0")
		}
		return open
	case "[", "test":
		return t.test(args)
	case "which", "command":
		return t.which(args)
	case "dpkg":
		if len(args) > 1 && args[1].Text == "--compare-versions" {
			return t.versions(args[2:])
		}
	case "set", "shift", "local", "export", "unset", "readonly", "read", "umask", "cd", "trap", "echo", "printf", "sleep":
		return t.builtin(name, args)
	case "db_get":
		t.vars["RET"] = t.answer(args)
		return yes
	case "db_set":
		if len(args) > 2 && args[1].Known && t.m.Answers != nil {
			t.m.Answers[args[1].Text] = args[2]
			if t.maybe > 0 {
				t.m.Answers[args[1].Text] = Arg{}
			}
		}
		return yes
	case "exec":
		if len(args) > 1 {
			return t.run(args[1:])
		}
		return yes
	}
	t.commands = append(t.commands, c)
	return open
}

// answer is what db_get finds.
func (t *tracer) answer(args []Arg) Arg {
	if len(args) < 2 || !args[1].Known {
		return Arg{}
	}
	if a, ok := t.m.Answers[args[1].Text]; ok {
		return a
	}
	if t.m.Debconf == nil {
		return Arg{}
	}
	answer, ok := t.m.Debconf(args[1].Text)
	return Arg{answer, ok}
}

// builtin is for commands that change nothing but the shell.
func (t *tracer) builtin(name string, args []Arg) truth {
	switch name {
	case "set":
		for i, a := range args {
			if a.Text == "--" && i > 0 {
				t.args, t.known = nil, true
				for _, v := range args[i+1:] {
					t.args = append(t.args, v.Text)
					t.known = t.known && v.Known
				}
			}
		}
	case "shift":
		if len(args) > 1 || len(t.args) == 0 {
			t.known = false
		} else {
			t.args = t.args[1:]
		}
	case "local", "export", "readonly":
		for _, a := range args[1:] {
			for i := range len(a.Text) {
				if a.Text[i] == '=' {
					t.vars[a.Text[:i]] = Arg{a.Text[i+1:], a.Known}
					break
				}
			}
			if !a.Known {
				return open
			}
		}
	case "read", "unset":
		for _, a := range args[1:] {
			t.vars[a.Text] = Arg{"", name == "unset"}
		}
		return open
	}
	return yes
}

// call runs a function with arguments of its own.
func (t *tracer) call(body []node, args []Arg) truth {
	oldArgs, oldKnown := t.args, t.known
	t.args, t.known = nil, true
	for _, a := range args {
		t.args = append(t.args, a.Text)
		t.known = t.known && a.Known
	}
	maybe := t.maybe
	status := t.list(body)
	if t.returned || t.maybe != maybe {
		t.returned = false
	}
	t.args, t.known = oldArgs, oldKnown
	return status
}

func (t *tracer) which(args []Arg) truth {
	if args[0].Text == "command" && (len(args) < 2 || args[1].Text != "-v" && args[1].Text != "-V") {
		if len(args) > 1 {
			return t.run(args[1:])
		}
		return open
	}
	if t.m.HasProgram == nil {
		return open
	}
	for _, a := range args[1:] {
		if a.Known && (a.Text == "" || a.Text[0] != '-') {
			return truthOf(t.m.HasProgram(a.Text))
		}
	}
	return open
}

// versions is dpkg --compare-versions A OP B.
func (t *tracer) versions(args []Arg) truth {
	if len(args) < 3 || t.m.Compare == nil {
		return open
	}
	for _, a := range args[:3] {
		if !a.Known {
			return open
		}
	}
	a, op, b := args[0].Text, args[1].Text, args[2].Text
	if a == "" || b == "" {
		// Nothing is earlier than every version, and for the operators ending in -nl later.
		c := 0
		switch {
		case a == "" && b != "":
			c = -1
		case a != "":
			c = 1
		}
		if len(op) > 3 && op[len(op)-3:] == "-nl" {
			c, op = -c, op[:len(op)-3]
		}
		return holds(op, c)
	}
	if len(op) > 3 && op[len(op)-3:] == "-nl" {
		op = op[:len(op)-3]
	}
	return holds(op, t.m.Compare(a, b))
}

func holds(op string, c int) truth {
	switch op {
	case "lt", "<<":
		return truthOf(c < 0)
	case "le", "<=", "<":
		return truthOf(c <= 0)
	case "eq", "=":
		return truthOf(c == 0)
	case "ne":
		return truthOf(c != 0)
	case "ge", ">=", ">":
		return truthOf(c >= 0)
	case "gt", ">>":
		return truthOf(c > 0)
	}
	return open
}

// test is test(1), with its -a and -o.
func (t *tracer) test(args []Arg) truth {
	args = args[1:]
	if n := len(args); n > 0 && args[n-1].Text == "]" {
		args = args[:n-1]
	}
	for _, op := range []string{"-o", "-a"} {
		if i := slices.IndexFunc(args, func(a Arg) bool { return a.Known && a.Text == op }); i > 0 && i < len(args)-1 {
			left, right := t.test(append([]Arg{{}}, args[:i]...)), t.test(append([]Arg{{}}, args[i+1:]...))
			if op == "-o" {
				left, right = left.not(), right.not()
			}
			both := open
			switch {
			case left == no || right == no:
				both = no
			case left == yes && right == yes:
				both = yes
			}
			if op == "-o" {
				return both.not()
			}
			return both
		}
	}
	if len(args) > 1 && args[0].Known && args[0].Text == "!" {
		return t.test(args).not()
	}
	for _, a := range args {
		if !a.Known {
			return open
		}
	}
	switch len(args) {
	case 0:
		return no
	case 1:
		return truthOf(args[0].Text != "")
	case 2:
		return t.unary(args[0].Text, args[1].Text)
	case 3:
		switch args[1].Text {
		case "=", "==":
			return truthOf(args[0].Text == args[2].Text)
		case "!=":
			return truthOf(args[0].Text != args[2].Text)
		}
	}
	return open
}

func (t *tracer) unary(op, value string) truth {
	switch op {
	case "-n":
		return truthOf(value != "")
	case "-z":
		return truthOf(value == "")
	case "-e", "-f", "-d", "-h", "-L", "-x", "-r", "-s":
		if t.m.Exists != nil && value != "" && value[0] == '/' {
			return truthOf(t.m.Exists(op[1], value))
		}
	}
	return open
}
