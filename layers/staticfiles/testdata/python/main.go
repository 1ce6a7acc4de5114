// Command python stands for Python in the tests' trees. As collectstatic it does what the variable DO says, verb by verb;
// asked with -c for STATIC_ROOT, it answers with the variable ROOT.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "-c" && os.Args[3] == "/app/manage.py" {
		answer, _ := json.Marshal(os.Getenv("ROOT"))
		fmt.Printf("the settings print\n\n\x1ejubako %s\n", answer)
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
