package project

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/hint"
)

const someSteps = `
[[tool.jubako.step]]
name = "messages"
command = ["python", "manage.py", "compilemessages"]
output = ["locale", "/usr/share/x/"]

[[tool.jubako.step]]
name = "css"
command = ["sh", "-c", "x > y"]
output = "./static/dist"
env = { A = "1" }
secret = ["env:NPM_TOKEN", "file:../.npmrc"]
network = true
timeout = "10m"
memory = "2GiB"

[tool.jubako.profile.dev]
step = []

[[tool.jubako.profile.ci.step]]
name = "one"
command = ["true"]
output = ["x"]
`

func TestSteps(t *testing.T) {
	messages := Step{Name: "messages", Command: []string{"python", "manage.py", "compilemessages"}, Output: []string{"locale", "/usr/share/x"}, Timeout: DefaultStepTimeout}
	css := Step{Name: "css", Command: []string{"sh", "-c", "x > y"}, Output: []string{"static/dist"}, Env: map[string]string{"A": "1"},
		Secrets: []Secret{{"env", "NPM_TOKEN", ""}, {"file", ".npmrc", "../.npmrc"}}, Network: true, Timeout: 10 * time.Minute, Memory: 2 << 30}
	for profile, want := range map[string][]Step{
		"prod": {messages, css}, "dev": nil, "ci": {{Name: "one", Command: []string{"true"}, Output: []string{"x"}, Timeout: DefaultStepTimeout}},
	} {
		p, err := parse("f.toml", []byte(someSteps), profile, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, p.Config.Steps); d != "" {
			t.Errorf("%s: %s", profile, d)
		}
	}
}

func TestStepsRefused(t *testing.T) {
	good := map[string]string{"name": `"x"`, "command": `["c"]`, "output": `["o"]`}
	for name, tc := range map[string]struct {
		set  map[string]string
		want []string
	}{
		"a shell's line":   {map[string]string{"command": `"npm run build && true"`}, []string{"f.toml:4:1: step.0.command: a list of strings is wanted", `command = ["sh", "-c", "npm run build && true"]`}},
		"a string":         {map[string]string{"command": `"python manage.py compilemessages"`}, []string{`command = ["python", "manage.py", "compilemessages"]`}},
		"an empty command": {map[string]string{"command": `[]`}, []string{"a step has a command"}},
		"no command":       {map[string]string{"command": ""}, []string{"a step has a command"}},
		"numbers":          {map[string]string{"command": `[1]`}, []string{"1 is no string"}},
		"a table":          {map[string]string{"command": `{}`}, []string{"a list of strings is wanted"}},
		"no name":          {map[string]string{"name": ""}, []string{"f.toml:3:15: step.0: a step has a name"}},
		"capitals":         {map[string]string{"name": `"Css"`}, []string{`"Css" is no name`}},
		"ours":             {map[string]string{"name": `"venv"`}, []string{"a layer that jubako makes itself"}},
		"no output":        {map[string]string{"output": ""}, []string{"a step has an output"}},
		"empty output":     {map[string]string{"output": `[]`}, []string{"a step has an output"}},
		"outside":          {map[string]string{"output": `["../x"]`}, []string{`"../x" is neither`}},
		"the root":         {map[string]string{"output": `["/"]`}, []string{`"/" is neither`}},
		"the project":      {map[string]string{"output": `["/app"]`}, []string{"holds the project itself"}},
		"the venv":         {map[string]string{"output": `[".venv/lib"]`}, []string{"the virtual environment"}},
		"writable":         {map[string]string{"output": `["data/x"]`}, []string{"the writable folder data"}},
		"holds writable":   {map[string]string{"output": `["/app/da", "data"]`}, []string{"the writable folder data"}},
		"a secret":         {map[string]string{"secret": `["NPM_TOKEN"]`}, []string{`"NPM_TOKEN" is no secret`, `"env:NAME"`}},
		"a variable":       {map[string]string{"secret": `["env:A B"]`}, []string{"no secret"}},
		"a folder":         {map[string]string{"secret": `["file:.."]`}, []string{"no secret"}},
		"twice the secret": {map[string]string{"secret": `["file:a/x", "file:b/x"]`}, []string{"two secrets called x"}},
		"env and secret":   {map[string]string{"secret": `["env:A"]`, "env": `{ A = "1" }`}, []string{"A is set in env as well"}},
		"env's name":       {map[string]string{"env": `{ "A=B" = "1" }`}, []string{`"A=B" is no name`}},
		"timeout":          {map[string]string{"timeout": `"soon"`}, []string{`"soon" is no duration`}},
		"short timeout":    {map[string]string{"timeout": `"1ms"`}, []string{`"1ms" is no duration`}},
		"memory":           {map[string]string{"memory": `"much"`}, []string{`"much" is no amount`}},
		"little memory":    {map[string]string{"memory": `"1MiB"`}, []string{"not between 64MiB"}},
		"very much memory": {map[string]string{"memory": `"9000000000000000000TiB"`}, []string{"not between 64MiB"}},
		"an unknown key":   {map[string]string{"outptu": `"x"`}, []string{`there is no key "step.0.outptu"`, `did you mean "output"?`}},
		"network's type":   {map[string]string{"network": `"yes"`}, []string{"true or false is wanted"}},
		"two of one name":  {map[string]string{"timeout": "\"1m\"\n[[tool.jubako.step]]\nname = \"x\"\ncommand = [\"y\"]\noutput = [\"z\"]"}, []string{`step.1.name: there are two steps called "x"`}},
		"a NUL":            {map[string]string{"output": `["a\u0000"]`}, []string{"holds a NUL"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := "[tool.jubako]\nwritable = [\"data\"]\n[[tool.jubako.step]]\n"
			for _, key := range []string{"command", "name", "output", "secret", "env", "outptu", "network", "memory", "timeout"} {
				v, ok := tc.set[key]
				if !ok {
					v = good[key]
				}
				if v != "" {
					text += key + " = " + v + "\n"
				}
			}
			_, err := parse("f.toml", []byte(text), DefaultProfile, nil)
			if err == nil || hint.KindOf(err) != hint.KindUsage {
				t.Fatalf("%v of\n%s", err, text)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error()+"\n"+hint.Of(err), w) {
					t.Errorf("%v (%s) lacks %q", err, hint.Of(err), w)
				}
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"64MiB": 64 << 20, "1 GB": 1e9, "3TiB": 3 << 40, "100000000B": 1e8, "70000kB": 7e7, "70000KiB": 70000 << 10} {
		if got, err := bytesOf(text); got != want || err != nil {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
}
