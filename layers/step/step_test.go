package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/sandbox"
	"github.com/jubako/jubako/pkg/sandbox/sandboxtest"
	run "github.com/jubako/jubako/pkg/step"
)

func TestMain(m *testing.M) { sandboxtest.Main(m, "../../pkg/sandbox/testdata/prog", &prog) }

// prog is the only program of the trees: see its source for what it can do.
var prog []byte

// options is a step that runs prog with these words in a project with some translations.
func options(t *testing.T, words ...string) Options {
	t.Helper()
	return Options{Name: "messages", Workdir: "/app", Venv: ".venv", Command: append([]string{"prog"}, words...), Output: []string{"locale"}, UID: 999, GID: 998, Epoch: 7,
		Store: sandboxtest.Store(t), Env: []string{"PATH=/usr/bin", "A=image"}, Timeout: time.Minute, System: 1,
		Lower: func(context.Context) ([]rootfs.Group, error) {
			return []rootfs.Group{sandboxtest.Group(t, map[string]string{"usr/bin/prog": string(prog), "etc/hosts": "h", "run/lock/x": "x", "dev/null": "", "usr/share/base": "b"}),
				sandboxtest.Group(t, map[string]string{"app/locale/de.po": "de", "app/locale/old.mo": "old", "app/main.py": "m"})}, nil
		}, LowerKeys: []string{"b", "a"}}
}

func tree(t *testing.T, o Options) (*fstree.Tree, error) {
	t.Helper()
	l, err := New(o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	tree, err := l.Tree(t.Context())
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		t.Skip(err)
	}
	return tree, err
}

func describe(t *testing.T, tree *fstree.Tree) (lines []string) {
	t.Helper()
	for e := range tree.All() {
		s := fmt.Sprintf("%s %s %o %d:%d %s", e.Path, e.Kind, e.Mode, e.UID, e.GID, e.Link)
		if e.Content != nil {
			r, err := e.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprintf("%q", b)
		}
		lines = append(lines, s)
	}
	return lines
}

// TestDifference: what the source has at an output stays where it is; the layer holds what the step has made of it.
func TestDifference(t *testing.T) {
	o := options(t, "write", "locale/de.mo", "DE", ";", "write", "locale/old.mo", "new", ";", "write", "data/x", "1", ";", "mkdir", "bin", ";", "write", "bin/tool", "t", ";",
		"chmod", "0751", "bin/tool", ";", "mkdir", "/usr/share/fonts", ";", "write", "/usr/share/fonts/f", "f", ";", "write", "/etc/issue", "mine", ";", "rm", "main.py", ";", "write", "/tmp/t", "t")
	o.Output = []string{"locale", "bin/tool", "bin", "/usr/share"}
	o.Writable = []string{"data"}
	var dropped []string
	o.Dropped = func(paths []string) { dropped = paths }
	got, err := tree(t, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"app/bin directory 755 999:998 ",
		`app/bin/tool file 755 999:998 "t"`,
		"app/locale directory 755 999:998 ",
		`app/locale/de.mo file 644 999:998 "DE"`,
		`app/locale/old.mo file 755 999:998 "new"`,
		"usr/share/fonts directory 755 0:0 ",
		`usr/share/fonts/f file 644 0:0 "f"`,
	}
	if d := cmp.Diff(want, describe(t, got)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"/app/main.py", "/etc/issue"}, dropped); d != "" {
		t.Error(d)
	}
}

func secrets(list ...run.Secret) func() ([]run.Secret, error) {
	return func() ([]run.Secret, error) { return list, nil }
}

// TestSecrets: the process has them, and what it prints does not; afterwards they are nowhere.
func TestSecrets(t *testing.T) {
	o := options(t, "env", ";", "ls", run.SecretsDir, ";", "cat", run.SecretsDir+"/.npmrc", ";", "write", "locale/x", "y")
	o.Secrets = []string{"env:NPM_TOKEN", "file:.npmrc"}
	o.ReadSecrets = secrets(run.Secret{Name: "NPM_TOKEN", Value: "tok-5ecret"}, run.Secret{Name: ".npmrc", File: true, Value: "//r/:_auth=zq8-xk2-pw7-long\n# c\n"})
	var log bytes.Buffer
	o.Log = &log
	var dropped []string
	o.Dropped = func(paths []string) { dropped = paths }
	o.Ran = func(c sandbox.Choice) { t.Log(c) }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Tree(t.Context())
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"app/locale directory 755 999:998 ", `app/locale/x file 644 999:998 "y"`}, describe(t, got)); d != "" || dropped != nil {
		t.Errorf("%s, dropped %q", d, dropped)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NPM_TOKEN=$NPM_TOKEN\n", ".npmrc\n", "$.npmrc\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
	for _, value := range []string{"5ecret", "zq8-xk2-pw7-long"} {
		if strings.Contains(log.String(), value) {
			t.Errorf("the log holds %q:\n%s", value, log.String())
		}
		grep(t, o.Store.Dir(), value)
	}
	if left, _ := filepath.Glob("/dev/shm/jubako-step-files-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// grep insists that no file below a folder holds the text.
func grep(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("%s holds %q", p, text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFailures(t *testing.T) {
	secret := func(o *Options) {
		o.Secrets, o.ReadSecrets = []string{"env:TOKEN"}, secrets(run.Secret{Name: "TOKEN", Value: "s3cret-value"})
	}
	tests := map[string]struct {
		words, err, hint string
		set              func(*Options)
	}{
		"exit":              {words: "env ; exit 3", err: "running \"prog env ; exit 3\" in /app: exit status 3\n", set: func(o *Options) { o.StepEnv = []string{"B=123456"} }},
		"a signal":          {words: "abort", err: "terminated"},
		"no program":        {words: "", set: func(o *Options) { o.Command = []string{"npm"} }, err: `starting "npm"`, hint: "[[tool.jubako.step]] command says what runs"},
		"runs away":         {words: "sleep 60s", set: func(o *Options) { o.Timeout = 300 * time.Millisecond }, err: "the command took longer than it may (300ms)", hint: `timeout = "…" in step messages`},
		"leaves a process":  {words: "daemon locale/late ; sleep 60s", set: func(o *Options) { o.Timeout = 300 * time.Millisecond }, err: "longer than it may"},
		"eats memory":       {words: "alloc 600", set: func(o *Options) { o.Memory = 256 << 20 }, err: "exit status 2", hint: `each of its processes may have 256 MiB: memory = "…" in step messages`},
		"no network":        {words: "dial 192.0.2.1:80 ; exit 1", err: "refused"},
		"nothing there":     {words: "env", set: func(o *Options) { o.Output = []string{"dist"} }, err: "there is nothing at /app/dist", hint: "output"},
		"a fifo":            {words: "fifo locale/f", err: "/app/locale/f is a named pipe"},
		"changes the base":  {words: "write /usr/share/base x", set: func(o *Options) { o.Output = []string{"/usr/share"} }, err: "taking what step messages wrote: it changed /usr/share/base, a file of the base", hint: "let it write elsewhere"},
		"removes from it":   {words: "rm /usr/share/base", set: func(o *Options) { o.Output = []string{"/usr/share"} }, err: "it removed /usr/share/base, a file of the base"},
		"a lost link":       {words: "write data.txt x ; symlink ../data.txt locale/l", err: "/app/locale/l is a symlink to ../data.txt, which the image does not hold"},
		"leads to the base": {words: "rm locale ; symlink /usr/share locale ; write locale/base x", err: "it changed /usr/share/base"},
		"leads to itself":   {words: "rm locale ; symlink /app locale", err: "the output /app holds the project itself"},
		"leaks":             {words: "write locale/x 123s3cret-value456", set: secret, err: "/app/locale/x holds the secret TOKEN", hint: "keep the value out"},
		"leaks in a name":   {words: "write locale/s3cret-value x", set: secret, err: "a file's name holds the secret TOKEN"},
		"leaks in a link":   {words: "symlink s3cret-value locale/l ; write locale/s3cret-value x", set: secret, err: "a file's name holds the secret TOKEN"},
		"prints it":         {words: "env ; exit 1", set: secret, err: "TOKEN=$TOKEN"},
		"/proc":             {words: "env", set: func(o *Options) { o.Output = []string{"/proc/x"} }, err: "step messages: the output /proc/x lies in /proc"},
		"secrets":           {words: "env", set: func(o *Options) { o.Output = []string{run.SecretsDir} }, err: "lies in /run/secrets"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, strings.Fields(test.words)...)
			if test.set != nil {
				test.set(&o)
			}
			_, err := tree(t, o)
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(hint.Of(err), test.hint) {
				t.Errorf("%v\nhint: %s", err, hint.Of(err))
			}
			if err != nil && strings.Contains(err.Error()+hint.Of(err), "s3cret") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// TestMemory: a step's processes are bound by what its options say, else by nine tenths of what the machine has.
func TestMemory(t *testing.T) {
	if sandbox.MachineMemory() == 0 {
		t.Skip("this machine does not say how much memory it has")
	}
	for memory, want := range map[int64]int64{0: max(sandbox.MachineMemory()/10*9, sandbox.MinMemoryLimit), 256 << 20: 256 << 20} {
		o := options(t, "copy", "/proc/self/limits", "locale/limits")
		o.Memory = memory
		got, err := tree(t, o)
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(describe(t, got), "\n"); !regexp.MustCompile(fmt.Sprintf(`Max data size +%d +%d `, want, want)).MatchString(all) {
			t.Errorf("%d: %s", memory, all)
		}
	}
}

// TestProcessLeft: a process that outlives the command ends with it, and writes nothing more.
func TestProcessLeft(t *testing.T) {
	o := options(t, "daemon", "locale/late", ";", "write", "locale/x", "y")
	got, err := tree(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"app/locale directory 755 999:998 ", `app/locale/x file 644 999:998 "y"`}, describe(t, got)); d != "" {
		t.Error(d)
	}
}

func TestCancelled(t *testing.T) {
	l, err := New(options(t, "sleep", "60s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = l.Tree(ctx)
	if _, ok := errors.AsType[*sandbox.RefusedError](err); ok {
		t.Skip(err)
	}
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestKey: what changes the files changes the key, and nothing else does. A secret's value does not.
func TestKey(t *testing.T) {
	key := func(change func(*Options)) string {
		o := Options{Name: "x", Workdir: "/app", Command: []string{"a"}, Output: []string{"b", "c"}, Env: []string{"A=1", "B=2"}, LowerKeys: []string{"x"}, Secrets: []string{"env:T"}}
		change(&o)
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(l.Key())
	}
	plain := key(func(*Options) {})
	for name, change := range map[string]func(*Options){
		"env's order":     func(o *Options) { o.Env = []string{"B=2", "A=0", "A=1"} },
		"output's order":  func(o *Options) { o.Output = []string{"c", "b", "b/d"} },
		"the rung":        func(o *Options) { o.Rung = sandbox.Chroot },
		"bounds":          func(o *Options) { o.Timeout, o.Memory = time.Hour, 1<<30 },
		"a secret's":      func(o *Options) { o.ReadSecrets = secrets(run.Secret{Name: "T", Value: "other-value"}) },
		"the log":         func(o *Options) { o.Log = io.Discard },
		"a name":          func(o *Options) { o.Name = "y" },
		"the same folder": func(o *Options) { o.Dir = "." },
	} {
		if key(change) != plain {
			t.Errorf("%s changes the key", name)
		}
	}
	seen := map[string]string{plain: "plain"}
	for name, change := range map[string]func(*Options){
		"env": func(o *Options) { o.StepEnv = []string{"A=2"} }, "lower": func(o *Options) { o.LowerKeys = []string{"y"} },
		"output": func(o *Options) { o.Output = []string{"s"} }, "dir": func(o *Options) { o.Dir = "s" }, "command": func(o *Options) { o.Command = []string{"x"} },
		"owner": func(o *Options) { o.UID = 1 }, "epoch": func(o *Options) { o.Epoch = 1 }, "writable": func(o *Options) { o.Writable = []string{"data"} },
		"venv": func(o *Options) { o.Venv = ".venv" }, "network": func(o *Options) { o.Network = true }, "secrets": func(o *Options) { o.Secrets = nil },
	} {
		k := key(change)
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
	}
}

// TestEnvironment: a secret beats what the image says of its name, and is in no key.
func TestEnvironment(t *testing.T) {
	l, err := New(Options{Name: "x", Workdir: "/app", Venv: ".venv", Env: []string{"T=image"}, Output: []string{"o"}})
	if err != nil {
		t.Fatal(err)
	}
	c := l.command(nil, []run.Secret{{Name: "T", Value: "token"}, {Name: "f", File: true, Value: "content"}})
	if !slices.Contains(c.Env, "T=token") || slices.Contains(c.Env, "T=image") || slices.Contains(c.Env, "f=content") || !slices.Contains(c.Secrets, "f=content") {
		t.Errorf("%q, %q", c.Env, c.Secrets)
	}
}
