package project

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// Step is one command of [[tool.jubako.step]], whose output becomes a layer.
type Step struct {
	Name    string
	Command []string
	Output  []string // absolute, or below the working folder; clean
	Env     map[string]string
	Secrets []Secret
	Network bool
	Timeout time.Duration // DefaultStepTimeout where nothing is written
	Memory  int64         // bytes for each process; 0 where nothing is said
}

// DefaultStepTimeout is how long a step may take that says nothing of it.
const DefaultStepTimeout = 30 * time.Minute

// Secret is something that a step sees and nothing else: a variable of jubako's own environment, or a file on this machine.
type Secret struct {
	Kind string // "env" or "file"
	// Name is the variable's, or the file's as the step finds it in /run/secrets.
	Name string
	Path string // of a file, relative to pyproject.toml or absolute
}

// String is the secret as it is written: "env:NPM_TOKEN".
func (s Secret) String() string {
	if s.Kind == "env" {
		return "env:" + s.Name
	}
	return "file:" + s.Path
}

type rawStep struct {
	Name    string            `toml:"name"`
	Command any               `toml:"command"`
	Output  any               `toml:"output"`
	Env     map[string]string `toml:"env"`
	Secret  []string          `toml:"secret"`
	Network bool              `toml:"network"`
	Timeout string            `toml:"timeout"`
	Memory  string            `toml:"memory"`
}

// layerNames are the layers that jubako makes itself; a step bears another name.
var layerNames = []string{"base", "debian", "passwd", "venv", "project", "app", "staticfiles", "bytecode"}

var (
	stepNameRE = lazyre.New(`^[a-z0-9][a-z0-9-]{0,39}$`)
	variableRE = lazyre.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
	memoryRE   = lazyre.New(`^([0-9]+) ?([KMGT]iB|[kKMGT]B|B)$`)
)

func readSteps(raw []rawStep) ([]Step, error) {
	var all []Step
	for i, r := range raw {
		key := fmt.Sprintf("step.%d", i)
		s, err := r.resolve(key)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other Step) bool { return other.Name == s.Name }) {
			return nil, badKey(key+".name", "there are two steps called %q", s.Name)
		}
		all = append(all, s)
	}
	return all, nil
}

func (r *rawStep) resolve(key string) (s Step, err error) {
	s = Step{Name: r.Name, Env: r.Env, Network: r.Network, Timeout: DefaultStepTimeout}
	switch {
	case r.Name == "":
		return s, badKey(key, "a step has a name, which becomes its layer's")
	case !stepNameRE().MatchString(r.Name):
		return s, badKey(key+".name", "%q is no name of a step: lower-case letters, digits and hyphens, at most 40", r.Name)
	case slices.Contains(layerNames, r.Name):
		return s, badKey(key+".name", "%q is the name of a layer that jubako makes itself", r.Name)
	}
	if s.Command, err = stepCommand(key+".command", r.Command); err != nil {
		return s, err
	}
	if s.Output, err = stepOutput(key+".output", r.Output); err != nil {
		return s, err
	}
	for name := range r.Env {
		if !variableRE().MatchString(name) {
			return s, badKey(key+".env", "%q is no name of a variable", name)
		}
	}
	if s.Secrets, err = stepSecrets(key+".secret", r.Secret, r.Env); err != nil {
		return s, err
	}
	if r.Timeout != "" {
		if s.Timeout, err = time.ParseDuration(r.Timeout); err != nil || s.Timeout < time.Second {
			return s, badKey(key+".timeout", "%q is no duration of a second or more, such as 10m", r.Timeout)
		}
	}
	if r.Memory != "" {
		if s.Memory, err = bytesOf(r.Memory); err != nil {
			return s, badKey(key+".memory", "%w", err)
		}
	}
	return s, nil
}

// stepCommand wants a list: a string would have to be taken apart, or given to a shell, and either surprises somebody.
func stepCommand(key string, v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, badKey(key, "a step has a command")
	case string:
		words := strings.Fields(v)
		if strings.ContainsAny(v, "|&;<>()$`\\\"'*?[#~=%{}\n") {
			words = []string{"sh", "-c", v}
		}
		for i, w := range words {
			words[i] = strconv.Quote(w)
		}
		return nil, hint.Wrap(badKey(key, "a list of strings is wanted, not a string"), "write command = [%s]", strings.Join(words, ", "))
	case []any:
		words, err := strs(key, v)
		if err == nil && (len(words) == 0 || words[0] == "") {
			err = badKey(key, "a step has a command")
		}
		return words, err
	}
	return nil, badKey(key, "a list of strings is wanted, not %v", v)
}

// stepOutput takes a list, or, as staticfiles does, a single path.
func stepOutput(key string, v any) ([]string, error) {
	var list []string
	switch v := v.(type) {
	case nil:
	case string:
		list = []string{v}
	case []any:
		var err error
		if list, err = strs(key, v); err != nil {
			return nil, err
		}
	default:
		return nil, badKey(key, "a list of paths is wanted, not %v", v)
	}
	if len(list) == 0 {
		return nil, hint.Wrap(badKey(key, "a step has an output, the files or folders of which its layer is made"), `name them, below workdir or absolute: output = ["locale"]`)
	}
	for i, p := range list {
		if p == "" || path.Clean(p) == "/" || !path.IsAbs(p) && !inside(p) {
			return nil, badKey(key, "%q is neither a path below workdir nor an absolute one", p)
		}
		list[i] = path.Clean(p)
	}
	return list, nil
}

func strs(key string, v []any) ([]string, error) {
	list := []string{}
	for _, x := range v {
		s, ok := x.(string)
		if !ok {
			return nil, badKey(key, "%v is no string", x)
		}
		if strings.ContainsRune(s, 0) {
			return nil, badKey(key, "%q holds a NUL, which no command and no path can", s)
		}
		list = append(list, s)
	}
	return list, nil
}

func stepSecrets(key string, raw []string, env map[string]string) ([]Secret, error) {
	var all []Secret
	for _, text := range raw {
		kind, value, _ := strings.Cut(text, ":")
		s := Secret{Kind: kind, Name: value}
		switch {
		case kind == "env" && variableRE().MatchString(value):
			if _, ok := env[value]; ok {
				return nil, badKey(key, "%s is set in env as well", value)
			}
		case kind == "file" && value != "" && path.Base(value) != "/" && path.Base(value) != "." && path.Base(value) != "..":
			s.Name, s.Path = path.Base(value), value
		default:
			return nil, hint.Wrap(badKey(key, "%q is no secret", text), `write "env:NAME" for a variable of this environment, or "file:PATH" for a file`)
		}
		if slices.ContainsFunc(all, func(other Secret) bool { return other.Kind == s.Kind && other.Name == s.Name }) {
			return nil, badKey(key, "there are two secrets called %s", s.Name)
		}
		all = append(all, s)
	}
	return all, nil
}

// bytesOf reads "512MiB" and "2GB".
func bytesOf(text string) (int64, error) {
	m := memoryRE().FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no amount of memory such as 2GiB", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount of memory such as 2GiB", text)
	}
	factor := int64(1)
	if power := strings.IndexByte("BKMGT", strings.ToUpper(m[2])[0]); power > 0 {
		for range power {
			if strings.Contains(m[2], "i") {
				factor *= 1024
			} else {
				factor *= 1000
			}
		}
	}
	const least, most = 64 << 20, 1 << 50 // an interpreter hardly starts with less (sandbox.MinMemoryLimit)
	if n > most/factor || n*factor < least {
		return 0, fmt.Errorf("%q is not between 64MiB and 1024TiB", text)
	}
	return n * factor, nil
}

// checkOutputs refuses outputs that nothing could come of, or that two layers would claim.
func (c *Config) checkOutputs() error {
	for i, s := range c.Steps {
		for _, out := range s.Output {
			key := fmt.Sprintf("step.%d.output", i)
			if err := c.checkOutput(key, out); err != nil {
				return err
			}
			abs := c.abs(out)
			for _, w := range c.Writable {
				if dir := c.abs(w); below(abs, dir) || below(dir, abs) {
					return hint.Wrap(badKey(key, "%q and the writable folder %s cannot be had together: of what steps write there nothing is kept", out, w),
						"take one of the two away, or let the command write elsewhere")
				}
			}
		}
	}
	if out := c.Staticfiles.Output; out != "" {
		return c.checkOutput("staticfiles.output", out)
	}
	return nil
}

func (c *Config) checkOutput(key, out string) error {
	abs := c.abs(out)
	if below(c.Workdir, abs) {
		return badKey(key, "%q holds the project itself", out)
	}
	if venv := c.abs(c.Venv); below(abs, venv) || below(venv, abs) {
		return badKey(key, "%q and the virtual environment %s cannot be had together", out, c.Venv)
	}
	return nil
}

func (c *Config) abs(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(c.Workdir, p)
}

// below says whether p is dir or lies below it; both are clean and absolute.
func below(p, dir string) bool { return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/") }
