package pyimport

import (
	"bytes"
	"strings"
)

// Import is an import statement of a source.
type Import struct {
	Level  int      // how many dots lead it: 0 is absolute
	Module string   // empty in "from . import x"
	Names  []string // what "from" takes of it; nil of a plain import
}

// Source is what a source says of other modules.
type Source struct {
	// Imports are the statements that run when the module is imported, in their order: not those in functions, for type checkers,
	// for other operating systems, or for where another import has failed.
	Imports []Import
	// Strings are the literals that could name a module: "a.b_c". Each stands once, where it first does.
	Strings []string
}

const (
	maxImports = 1 << 12 // of a source
	maxStrings = 1 << 12
	maxLine    = 1 << 14 // bytes of a statement that is looked at
	maxLiteral = 200     // bytes of a literal that could name a module
)

// Scan reads a source. It knows as much of Python's grammar as it takes to tell statements, literals, comments and blocks from one
// another, and makes the best of what is no Python.
func Scan(source []byte) Source {
	s := scanner{rest: source, named: make(map[string]bool)}
	for len(s.rest) > 0 && len(s.found.Imports) < maxImports {
		s.statement()
	}
	return s.found
}

type scanner struct {
	rest   []byte
	line   []byte   // the statement, without literals and comments
	quoted []string // its literals that could name something
	blocks []block  // that the statement lies in
	named  map[string]bool
	found  Source
}

// block is one whose first line is indented that far. What lies in one that is idle does not run.
type block struct {
	indent int
	idle   bool
}

// statement reads a logical line (Python reference, 2.1.1), and what leads it.
func (s *scanner) statement() {
	indent := s.indent()
	s.line, s.quoted = s.line[:0], s.quoted[:0]
	s.logicalLine()
	line := bytes.TrimSpace(s.line)
	if len(line) == 0 {
		return // a blank line or a comment, or a literal: no block ends with that
	}
	for len(s.blocks) > 0 && s.blocks[len(s.blocks)-1].indent >= indent {
		s.blocks = s.blocks[:len(s.blocks)-1]
	}
	idle := len(s.blocks) > 0 && s.blocks[len(s.blocks)-1].idle
	switch first := firstWord(line); first {
	case "import", "from":
		if !idle {
			for part := range strings.SplitSeq(string(line), ";") {
				s.take(part)
			}
		}
	case "def", "async", "class", "if", "elif", "else", "try", "except", "finally", "with", "for", "while":
		s.blocks = append(s.blocks, block{indent, idle || s.keepsIdle(first, string(line))})
	}
}

// keepsIdle says whether a compound statement is led by a line behind which nothing runs when the module is imported here.
func (s *scanner) keepsIdle(first, line string) bool {
	switch first {
	case "def", "async":
		return true
	case "except":
		return strings.Contains(line, "ImportError") || strings.Contains(line, "ModuleNotFoundError")
	case "if", "elif":
		if strings.Contains(line, "__name__") || strings.Contains(line, "TYPE_CHECKING") && !strings.Contains(line, "not ") {
			return true
		}
		if strings.Contains(line, "!=") || strings.Contains(line, "not ") || !strings.Contains(line, "platform") && !strings.Contains(line, "os.name") {
			return false
		}
		for _, q := range s.quoted {
			switch strings.ToLower(q) {
			case "win32", "win", "windows", "nt", "darwin", "cygwin", "java":
				return true
			}
		}
	}
	return false
}

// indent reads the blanks before a statement.
func (s *scanner) indent() (n int) {
	for len(s.rest) > 0 {
		switch s.rest[0] {
		case ' ':
			n++
		case '\t':
			n += 8 - n%8
		case '\f', '\r':
		default:
			return n
		}
		s.rest = s.rest[1:]
	}
	return n
}

// logicalLine reads to the end of a line that is in no bracket and no literal.
func (s *scanner) logicalLine() {
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '\n':
			if depth <= 0 {
				s.rest = s.rest[i+1:]
				return
			}
			s.add(' ')
		case '\\':
			if i+1 < len(s.rest) && s.rest[i+1] == '\r' {
				i++
			}
			i++ // the line goes on
			s.add(' ')
		case '#':
			if n := bytes.IndexByte(s.rest[i:], '\n'); n >= 0 {
				i += n - 1
			} else {
				i = len(s.rest)
			}
		case '"', '\'':
			i += s.literal(s.rest[i:], i > 0 && strings.IndexByte("bBfFtT", s.rest[i-1]) >= 0) - 1
			s.add('"') // in its place, so that it is not a blank line
		case '(', '[', '{':
			depth++
			s.add(c)
		case ')', ']', '}':
			depth--
			s.add(c)
		default:
			s.add(c)
		}
	}
	s.rest = nil
}

func (s *scanner) add(c byte) {
	if len(s.line) < maxLine {
		s.line = append(s.line, c)
	}
}

// literal reads a string, and says how long it is with its quotes. One that no quote ends, ends with its line.
func (s *scanner) literal(b []byte, special bool) int {
	quote := b[:1]
	if len(b) >= 3 && b[1] == b[0] && b[2] == b[0] {
		quote = b[:3]
	}
	for i := len(quote); i < len(b); i++ {
		switch {
		case b[i] == '\\':
			i++
		case b[i] == '\n' && len(quote) == 1:
			return i
		case b[i] == quote[0] && bytes.HasPrefix(b[i:], quote):
			if content := b[len(quote):i]; !special && len(quote) == 1 {
				s.quote(content)
			}
			return i + len(quote)
		}
	}
	return len(b)
}

// quote notes a literal that could name a module.
func (s *scanner) quote(content []byte) {
	if len(content) == 0 || len(content) > maxLiteral || !dotted(content) {
		return
	}
	name := string(content)
	s.quoted = append(s.quoted, name)
	if !s.named[name] && len(s.found.Strings) < maxStrings {
		s.named[name] = true
		s.found.Strings = append(s.found.Strings, name)
	}
}

// dotted says whether text is made of names with dots between them.
func dotted(text []byte) bool {
	begins := true
	for _, c := range text {
		switch {
		case c == '.':
			if begins {
				return false
			}
			begins = true
			continue
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c >= 0x80:
		case '0' <= c && c <= '9' && !begins:
		default:
			return false
		}
		begins = false
	}
	return !begins
}

func firstWord(line []byte) string {
	n := 0
	for n < len(line) && ('a' <= line[n] && line[n] <= 'z') {
		n++
	}
	if n < len(line) && (line[n] == '_' || 'A' <= line[n] && line[n] <= 'Z' || '0' <= line[n] && line[n] <= '9') {
		return ""
	}
	return string(line[:n])
}

// take reads an import statement: "import a.b as c, d" or "from ..a import (b as c, d)".
func (s *scanner) take(statement string) {
	statement = strings.TrimSpace(statement)
	if list, ok := cutWord(statement, "import"); ok {
		for _, name := range names(list) {
			if name != "*" {
				s.found.Imports = append(s.found.Imports, Import{Module: name})
			}
		}
		return
	}
	rest, ok := cutWord(statement, "from")
	if !ok {
		return
	}
	module, list, ok := strings.Cut(strings.ReplaceAll(rest, "\t", " "), " import")
	if !ok || strings.HasPrefix(list, "_") {
		if module, list, ok = strings.Cut(rest, "import"); !ok || !strings.HasSuffix(strings.TrimSpace(module), ".") {
			return // "from .import x" is allowed too
		}
	}
	i := Import{Names: names(list)}
	for module = strings.ReplaceAll(module, " ", ""); strings.HasPrefix(module, "."); module = module[1:] {
		i.Level++
	}
	if i.Module = module; len(i.Names) > 0 && (module == "" && i.Level > 0 || dotted([]byte(module))) {
		s.found.Imports = append(s.found.Imports, i)
	}
}

// cutWord takes a word off the front of a statement.
func cutWord(statement, word string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(statement, word)
	return rest, ok && rest != "" && strings.IndexByte(" \t(.*", rest[0]) >= 0
}

// names are those of a list, without what they are to be called.
func names(list string) (all []string) {
	for item := range strings.SplitSeq(strings.Trim(strings.TrimSpace(list), "()"), ",") {
		words := strings.Fields(item)
		if len(words) > 0 && (dotted([]byte(words[0])) || words[0] == "*") {
			all = append(all, words[0])
		}
	}
	return all
}
