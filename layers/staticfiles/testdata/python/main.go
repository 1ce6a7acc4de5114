// Command python stands for Python in the tests' trees. As collectstatic it does what the variable DO says, verb by verb;
// asked with -c for STATIC_ROOT, it answers with the variable ROOT; asked to compile, it writes of each file what it is
// compiled from; asked for modules' bytecode, it says of each what its source is: see modules. Called as a build backend's driver
// (pkg/pep517), it does what files of the source say: see backend.
package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "-c" && strings.HasPrefix(os.Args[3], "{") {
		backend(os.Args[3])
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "-c" && os.Args[3] == "/app/manage.py" {
		answer, _ := json.Marshal(os.Getenv("ROOT"))
		fmt.Printf("the settings print\n\n\x1ejubako %s\n", answer)
		return
	}
	if len(os.Args) == 7 && os.Args[4] == "-c" {
		check(compile(os.Args[6]))
		return
	}
	if len(os.Args) == 8 && os.Args[6] == "-c" {
		check(modules())
		return
	}
	if strings.Join(os.Args[1:], " ") != "manage.py collectstatic --noinput" {
		fail(fmt.Errorf("arguments %q", os.Args))
	}
	for verb := range strings.SplitSeq(os.Getenv("DO"), ";") {
		f := strings.SplitN(strings.TrimSpace(verb), " ", 3)
		switch f[0] {
		case "write":
			content, err := strconv.Unquote(`"` + f[2] + `"`)
			check(err)
			check(os.MkdirAll(filepath.Dir(f[1]), 0o700))
			check(os.WriteFile(f[1], []byte(content), 0o600))
		case "link":
			check(os.Symlink(f[1], f[2]))
		case "rm":
			check(os.Remove(f[1]))
		case "import": // with the bytecode, if there is any
			_, err := os.ReadFile(f[1])
			check(err)
			if pyc, err := os.ReadFile(os.Getenv("PYTHONPYCACHEPREFIX") + strings.TrimSuffix(f[1], ".py") + ".cpython-312.pyc"); err == nil {
				fmt.Printf("imported %s\n", pyc)
			}
		case "await": // its bytecode, for a while
			for range 300 {
				if _, err := os.Stat(os.Getenv("PYTHONPYCACHEPREFIX") + strings.TrimSuffix(f[1], ".py") + ".cpython-312.pyc"); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		case "sleep":
			d, err := time.ParseDuration(f[1])
			check(err)
			time.Sleep(d)
		case "print":
			fmt.Fprintln(os.Stderr, strings.ReplaceAll(strings.Join(f[1:], " "), "%", "\n"))
		case "fail":
			os.Exit(1)
		}
	}
	fmt.Println("0 static files copied")
}

// modules compiles what comes in, as pkg/pycache asks, or does what a source says.
func modules() error {
	read := func() ([]byte, error) {
		var n uint32
		if err := binary.Read(os.Stdin, binary.LittleEndian, &n); err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(os.Stdin, int64(n)))
	}
	write := func(s string) {
		_, err := os.Stdout.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...))
		check(err)
	}
	for {
		module, err := read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		source, err2 := read()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		switch text := string(source); text {
		case "is no Python":
			write("")
		case "hangs":
			time.Sleep(time.Hour)
		case "talks":
			write("one")
			write("two")
		case "floods":
			_, err := os.Stdout.Write([]byte{0xff, 0xff, 0xff, 0xff})
			check(err)
		default:
			write("pyc of " + string(module) + ": " + strings.ToUpper(text))
		}
	}
}

// backend stands for a build backend. The file "needs" of the source lists what it asks for, "imports" what has to be among
// the build requirements, "leaves" what it leaves in the source, and "fails" what it prints when it fails. The wheel that it makes lies in the source, in the folder
// HOOK. It writes into the source, as backends do.
func backend(request string) {
	var r struct{ Hook, Source, Out, Result string }
	check(json.Unmarshal([]byte(request), &r))
	lines := func(name string) []string {
		b, err := os.ReadFile(filepath.Join(r.Source, name))
		if err != nil {
			return []string{}
		}
		return strings.Fields(string(b))
	}
	for _, name := range lines("imports") {
		if _, err := os.Stat("/opt/jubako-build/lib/python3.12/site-packages/" + name); err != nil && strings.HasPrefix(r.Hook, "build_") {
			fail(fmt.Errorf("ModuleNotFoundError: No module named '%s'", name))
		}
	}
	if text, err := os.ReadFile(filepath.Join(r.Source, "fails")); err == nil {
		fail(fmt.Errorf("%s", text))
	}
	for _, name := range append(lines("leaves"), "left-behind") {
		check(os.WriteFile(filepath.Join(r.Source, name), []byte("x"), 0o644))
	}
	var result any = lines("needs")
	if strings.HasPrefix(r.Hook, "build_") {
		list, err := os.ReadDir(filepath.Join(r.Source, r.Hook))
		check(err)
		name := list[0].Name()
		b, err := os.ReadFile(filepath.Join(r.Source, r.Hook, name))
		check(err)
		check(os.MkdirAll(r.Out, 0o755))
		check(os.WriteFile(filepath.Join(r.Out, name), b, 0o600))
		result = name
	}
	b, err := json.Marshal(result)
	check(err)
	check(os.WriteFile(r.Result, b, 0o600))
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}

func compile(arguments string) error {
	var args struct{ Tops, Excluded []string }
	if err := json.Unmarshal([]byte(arguments), &args); err != nil {
		return err
	}
	for _, top := range args.Tops {
		err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err != nil || slices.Contains(args.Excluded, p) {
				return cmp.Or(err, fs.SkipDir)
			}
			name, ok := strings.CutSuffix(d.Name(), ".py")
			if !ok || !d.Type().IsRegular() {
				return nil
			}
			source, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if strings.HasPrefix(string(source), "print '") {
				answer, err := json.Marshal([]string{p, "SyntaxError: Missing parentheses"})
				fmt.Println(string(answer))
				return err
			}
			dir := filepath.Join(filepath.Dir(p), "__pycache__")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name+".cpython-312.pyc"), append([]byte("pyc of "), source...), 0o600)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
