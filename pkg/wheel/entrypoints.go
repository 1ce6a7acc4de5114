package wheel

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// Script is a console or GUI script that entry_points.txt asks for (Python packaging specifications, "Entry points").
type Script struct {
	Name     string // of the file below bin
	Module   string // that is imported: "uvicorn.main"
	Function string // within it, dotted: "Cli.run"
}

// maxEntryPoints bounds entry_points.txt in bytes.
const maxEntryPoints = 4 << 20

// ParseEntryPoints reads the scripts of an entry_points.txt, by name: console_scripts, then gui_scripts, which win a
// shared name. Sections of other kinds only have to be well-formed. Names are as written: see Install for those refused.
func ParseEntryPoints(data []byte) ([]Script, error) {
	if len(data) > maxEntryPoints {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are allowed", len(data), maxEntryPoints)
	}
	sections, err := parseINI(string(data))
	if err != nil {
		return nil, err
	}
	var scripts []Script
	at := make(map[string]int)
	for _, kind := range []string{"console_scripts", "gui_scripts"} {
		for _, o := range sections[kind] {
			s, err := parseReference(o.name, o.value)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", o.line, err)
			}
			if i, ok := at[s.Name]; ok {
				scripts[i] = s
				continue
			}
			at[s.Name] = len(scripts)
			scripts = append(scripts, s)
		}
	}
	return scripts, nil
}

// option is one "name = value" of an INI file.
type option struct {
	name, value string
	line        int
}

// parseINI reads an INI file as Python's configparser does with "=" as the only delimiter: an indented line continues
// the value above it, and a name may be there once.
func parseINI(text string) (map[string][]option, error) {
	sections := make(map[string][]option)
	names := make(map[string]bool) // of the section at hand
	section, open := "", false
	indent := -1 // of the option at hand, which a deeper line continues
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		body := strings.TrimSpace(line)
		if body == "" || body[0] == '#' || body[0] == ';' {
			continue
		}
		depth := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace))
		if open && indent >= 0 && depth > indent {
			options := sections[section]
			options[len(options)-1].value += "\n" + body
			continue
		}
		if end := strings.LastIndexByte(body, ']'); body[0] == '[' && end > 1 {
			section, open, indent = body[1:end], true, -1
			if _, ok := sections[section]; ok {
				return nil, fmt.Errorf("line %d: the section %q is there twice", n, section)
			}
			sections[section] = nil
			clear(names)
			continue
		}
		if !open {
			return nil, fmt.Errorf("line %d: a section is wanted first: %.80q", n, body)
		}
		name, value, ok := strings.Cut(body, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d is neither a section nor an option: %.80q", n, body)
		}
		if names[name] {
			return nil, fmt.Errorf("line %d: the option %q is there twice", n, name)
		}
		names[name] = true
		indent = depth
		sections[section] = append(sections[section], option{name: name, value: strings.TrimSpace(value), line: n})
	}
	return sections, nil
}

// parseReference reads "module:function [extras]"; the extras do not matter.
func parseReference(name, value string) (Script, error) {
	bad := fmt.Errorf("script %q refers to %.120q, which is not of the form module:function", name, value)
	ref := strings.TrimSpace(value)
	if i := strings.IndexByte(ref, '['); i >= 0 {
		if !strings.HasSuffix(ref, "]") || strings.ContainsAny(ref, "\n") {
			return Script{}, bad
		}
		ref = ref[:i]
	}
	module, function, ok := strings.Cut(ref, ":")
	module, function = strings.TrimSpace(module), strings.TrimSpace(function)
	if !ok || !isDotted(module) || !isDotted(function) {
		return Script{}, bad
	}
	return Script{Name: name, Module: module, Function: function}, nil
}

// isDotted says whether s may be put into a script: letters, digits, "_", "." and "-", which uv lets pass as well.
func isDotted(s string) bool {
	for _, r := range s {
		if r != '_' && r != '.' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			return false
		}
	}
	return s != ""
}

// checkScriptName says why a file below bin cannot have this name.
func checkScriptName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.Contains(name, "/"):
		return fmt.Errorf("script %q does not lie directly in bin", name)
	case len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("script %.80q: no file can have this name", name)
	case isReservedScript(name):
		return fmt.Errorf("script %q has the name of an interpreter", name)
	}
	return nil
}

// isReservedScript says whether a name, on a file system that ignores case or with .py added, stands for an interpreter.
func isReservedScript(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".py")
	switch name {
	case "python", "pythonw", "python3", "pypy", "pypy2", "pypy3", "graalpy":
		return true
	}
	minor, ok := strings.CutPrefix(name, "python3.")
	if !ok {
		if minor, ok = strings.CutPrefix(name, "pythonw3."); !ok || !strings.HasSuffix(minor, "t") {
			return false
		}
	}
	minor = strings.TrimSuffix(minor, "t")
	return minor != "" && strings.Trim(minor, "0123456789") == ""
}

// pipScripts applies the rule of pip's own scripts: a wheel made for any Python names one after the Python that built
// it; here it is named after the target's.
func pipScripts(scripts []Script, python string) []Script {
	kept := scripts[:0:0]
	var pip3 *Script
	for _, s := range scripts {
		if minor, ok := strings.CutPrefix(s.Name, "pip3."); ok && minor != "" && strings.Trim(minor, "0123456789") == "" {
			continue
		}
		if s.Name == "pip3" {
			pip3 = &s
		}
		kept = append(kept, s)
	}
	if pip3 != nil {
		kept = append(kept, Script{Name: "pip" + python, Module: pip3.Module, Function: pip3.Function})
	}
	return kept
}

// launcher is the text of the file that runs a script's function. It is uv's, to the byte.
func launcher(s Script, interpreter string) []byte {
	first, _, _ := strings.Cut(s.Function, ".")
	var b bytes.Buffer
	b.WriteString(shebang(interpreter, ""))
	b.WriteString("# -*- coding: utf-8 -*-\nimport sys\n")
	fmt.Fprintf(&b, "from %s import %s\n", s.Module, first)
	b.WriteString("if __name__ == \"__main__\":\n")
	for i, suffix := range []string{"-script.pyw", ".exe"} {
		fmt.Fprintf(&b, "    %s sys.argv[0].endswith(%q):\n", []string{"if", "elif"}[i], suffix)
		fmt.Fprintf(&b, "        sys.argv[0] = sys.argv[0][:-%d]\n", len(suffix))
	}
	fmt.Fprintf(&b, "    sys.exit(%s())\n", s.Function)
	return b.Bytes()
}
