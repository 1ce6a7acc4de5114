package maintscript

// node is a piece of a script.
type node interface{}

type (
	command struct {
		assign []assignment
		words  []word
		writes []word // files that the output goes to
	}
	// written is a compound command whose output goes to files.
	written struct {
		of    node
		files []word
	}
	assignment struct {
		name  string
		value word
	}
	ifNode struct {
		cond, then, otherwise []node
	}
	caseNode struct {
		subject word
		arms    []arm
	}
	arm struct {
		patterns []word
		body     []node
	}
	forNode struct {
		name  string
		words []word
		body  []node
	}
	whileNode struct {
		cond, body []node
		until      bool
	}
	group    struct{ body []node }
	function struct {
		name string
		body []node
	}
	// andOr is left && right, left || right.
	andOr struct {
		left, right node
		or          bool
	}
	not      struct{ of node }
	pipeline struct{ parts []node }
)

type parser struct {
	tokens []token
	at     int
	depth  int
}

// Parse reads a POSIX shell script (sh(1p)), as far as maintainer scripts go.
func parse(script string) ([]node, error) {
	tokens, err := lex(script)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	body, err := p.list()
	if err == nil && p.at < len(p.tokens) {
		err = p.fail()
	}
	return body, err
}

func (p *parser) fail() error { return errSyntax }

func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{op: "end"}
}

// keyword says whether the next token is this reserved word.
func (p *parser) keyword(names ...string) string {
	t := p.peek()
	if t.op != "" {
		return ""
	}
	b := t.word.bare()
	for _, n := range names {
		if b == n {
			return n
		}
	}
	return ""
}

func (p *parser) op(names ...string) string {
	t := p.peek()
	for _, n := range names {
		if t.op == n {
			return n
		}
	}
	return ""
}

func (p *parser) newlines() {
	for p.op("\n") != "" {
		p.at++
	}
}

func (p *parser) expect(word string) error {
	if p.keyword(word) == "" {
		return p.fail()
	}
	p.at++
	return nil
}

// list reads commands up to a word or operator that closes something.
func (p *parser) list() ([]node, error) {
	if p.depth++; p.depth > maxNested {
		return nil, p.fail()
	}
	defer func() { p.depth-- }()
	var all []node
	for {
		for p.op("\n", ";", "&") != "" {
			p.at++
		}
		if p.op("end", ")", ";;") != "" || p.keyword("then", "else", "elif", "fi", "do", "done", "esac", "}") != "" {
			return all, nil
		}
		n, err := p.andOr()
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
}

func (p *parser) andOr() (node, error) {
	left, err := p.pipeline()
	if err != nil {
		return nil, err
	}
	for {
		op := p.op("&&", "||")
		if op == "" {
			return left, nil
		}
		p.at++
		p.newlines()
		right, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		left = andOr{left, right, op == "||"}
	}
}

func (p *parser) pipeline() (node, error) {
	if p.keyword("!") != "" {
		p.at++
		n, err := p.pipeline()
		return not{n}, err
	}
	first, err := p.command()
	if err != nil {
		return nil, err
	}
	all := []node{first}
	for p.op("|") != "" {
		p.at++
		p.newlines()
		n, err := p.command()
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if len(all) == 1 {
		return first, nil
	}
	return pipeline{all}, nil
}

func (p *parser) command() (n node, err error) {
	switch {
	case p.op("(") != "":
		p.at++
		var body []node
		if body, err = p.list(); err != nil {
			return nil, err
		}
		if p.op(")") == "" {
			return nil, p.fail()
		}
		p.at++
		n = group{body}
	case p.keyword("{") != "":
		p.at++
		var body []node
		if body, err = p.list(); err != nil {
			return nil, err
		}
		err = p.expect("}")
		n = group{body}
	case p.keyword("if") != "":
		p.at++
		n, err = p.ifNode()
	case p.keyword("case") != "":
		p.at++
		n, err = p.caseNode()
	case p.keyword("for") != "":
		p.at++
		n, err = p.forNode()
	case p.keyword("while", "until") != "":
		until := p.keyword("until") != ""
		p.at++
		n, err = p.whileNode(until)
	default:
		return p.simple()
	}
	if err != nil {
		return nil, err
	}
	files, err := p.redirections()
	if len(files) > 0 {
		n = written{n, files}
	}
	return n, err
}

// redirections reads those behind a compound command.
func (p *parser) redirections() (files []word, err error) {
	for {
		if p.peek().op == "" && p.at+1 < len(p.tokens) && number(p.peek().word.bare()) && redirection(p.tokens[p.at+1].op) {
			p.at++
			continue
		}
		if !redirection(p.peek().op) {
			return files, nil
		}
		f, err := p.redirection()
		if err != nil {
			return nil, err
		}
		files = append(files, f...)
	}
}

// redirection reads one, and gives the file where it writes one.
func (p *parser) redirection() (files []word, err error) {
	op := p.peek().op
	p.at++
	if p.peek().op != "" {
		return nil, p.fail()
	}
	if op == ">" || op == ">>" || op == ">|" {
		files = []word{p.peek().word}
	}
	p.at++
	return files, nil
}

func redirection(op string) bool {
	switch op {
	case "<", ">", ">>", "<&", ">&", "<>", ">|":
		return true
	}
	return false
}

func number(s string) bool { return len(s) == 1 && s[0] >= '0' && s[0] <= '9' }

func (p *parser) ifNode() (node, error) {
	var n ifNode
	var err error
	if n.cond, err = p.list(); err != nil {
		return nil, err
	}
	if err := p.expect("then"); err != nil {
		return nil, err
	}
	if n.then, err = p.list(); err != nil {
		return nil, err
	}
	switch p.keyword("elif", "else", "fi") {
	case "elif":
		p.at++
		if p.depth++; p.depth > maxNested {
			return nil, p.fail()
		}
		rest, err := p.ifNode()
		p.depth--
		n.otherwise = []node{rest}
		return n, err
	case "else":
		p.at++
		if n.otherwise, err = p.list(); err != nil {
			return nil, err
		}
	}
	return n, p.expect("fi")
}

func (p *parser) caseNode() (node, error) {
	t := p.peek()
	if t.op != "" {
		return nil, p.fail()
	}
	n := caseNode{subject: t.word}
	p.at++
	p.newlines()
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	for {
		p.newlines()
		if p.keyword("esac") != "" {
			p.at++
			return n, nil
		}
		if p.op("(") != "" {
			p.at++
		}
		var a arm
		for {
			t := p.peek()
			if t.op != "" {
				return nil, p.fail()
			}
			a.patterns = append(a.patterns, t.word)
			p.at++
			if p.op("|") == "" {
				break
			}
			p.at++
		}
		if p.op(")") == "" {
			return nil, p.fail()
		}
		p.at++
		var err error
		if a.body, err = p.list(); err != nil {
			return nil, err
		}
		n.arms = append(n.arms, a)
		if p.op(";;") != "" {
			p.at++
		} else if p.keyword("esac") == "" {
			return nil, p.fail()
		}
	}
}

func (p *parser) forNode() (node, error) {
	t := p.peek()
	n := forNode{}
	if t.op != "" {
		return nil, p.fail()
	}
	if n.name = t.word.bare(); n.name == "" {
		return nil, p.fail()
	}
	p.at++
	p.newlines()
	if p.keyword("in") != "" {
		for p.at++; p.peek().op == ""; p.at++ {
			n.words = append(n.words, p.peek().word)
		}
	} else {
		n.words = []word{{part{name: "@", quoted: true}}}
	}
	for p.op("\n", ";") != "" {
		p.at++
	}
	var err error
	n.body, err = p.doGroup()
	return n, err
}

func (p *parser) doGroup() ([]node, error) {
	if err := p.expect("do"); err != nil {
		return nil, err
	}
	body, err := p.list()
	if err != nil {
		return nil, err
	}
	return body, p.expect("done")
}

func (p *parser) whileNode(until bool) (node, error) {
	cond, err := p.list()
	if err != nil {
		return nil, err
	}
	body, err := p.doGroup()
	return whileNode{cond, body, until}, err
}

// simple reads a command, or the definition of a function.
func (p *parser) simple() (node, error) {
	var c command
	begun := false
	for {
		t := p.peek()
		if redirection(t.op) {
			begun = true
			f, err := p.redirection()
			if err != nil {
				return nil, err
			}
			c.writes = append(c.writes, f...)
			continue
		}
		if t.op == "(" && len(c.words) == 1 && len(c.assign) == 0 && p.at+1 < len(p.tokens) && p.tokens[p.at+1].op == ")" {
			p.at += 2
			p.newlines()
			body, err := p.command()
			return function{c.words[0].bare(), []node{body}}, err
		}
		if t.op != "" {
			if !begun {
				return nil, p.fail()
			}
			return c, nil
		}
		begun = true
		p.at++
		if number(t.word.bare()) && redirection(p.peek().op) {
			continue // the number of a file descriptor
		}
		if name, value, ok := assigned(t.word); ok && len(c.words) == 0 {
			c.assign = append(c.assign, assignment{name, value})
			continue
		}
		c.words = append(c.words, t.word)
	}
}

// assigned takes NAME=VALUE apart.
func assigned(w word) (string, word, bool) {
	if w[0].name != "" || w[0].unknown || w[0].quoted {
		return "", nil, false
	}
	for i := range len(w[0].text) {
		c := w[0].text[i]
		if c == '=' && i > 0 {
			value := append(word{{text: w[0].text[i+1:]}}, w[1:]...)
			return w[0].text[:i], value, true
		}
		if !nameByte(c) && (i == 0 || c < '0' || c > '9') {
			break
		}
	}
	return "", nil, false
}
