// Command python stands for Python in the tests' trees. As collectstatic it does what the variable DO says, verb by verb;
// asked with -c for STATIC_ROOT, it answers with the variable ROOT; asked to compile, it writes of each file what it is
// compiled from.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "-c" && os.Args[3] == "/app/manage.py" {
		answer, _ := json.Marshal(os.Getenv("ROOT"))
		fmt.Printf("the settings print\n\n\x1ejubako %s\n", answer)
		return
	}
	if len(os.Args) == 7 && os.Args[4] == "-c" {
		check(compile(os.Args[6]))
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
		case "print":
			fmt.Fprintln(os.Stderr, strings.ReplaceAll(strings.Join(f[1:], " "), "%", "\n"))
		case "fail":
			os.Exit(1)
		}
	}
	fmt.Println("0 static files copied")
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
