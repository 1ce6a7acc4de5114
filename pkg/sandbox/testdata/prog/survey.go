package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// survey does what each of args asks, "VERB:PATH", and gives what it has seen: the same for the same files. It never fails,
// since that something fails is something that is seen.
func survey(args []string) []byte {
	var b bytes.Buffer
	for _, a := range args {
		verb, p, _ := strings.Cut(a, ":")
		fmt.Fprintf(&b, "%s: ", a)
		if err := look(&b, verb, p); err != nil {
			var errno syscall.Errno
			_ = errors.As(err, &errno)
			fmt.Fprint(&b, errno)
		}
		fmt.Fprintln(&b)
	}
	return b.Bytes()
}

func look(b *bytes.Buffer, verb, p string) error {
	switch verb {
	case "read":
		content, err := os.ReadFile(p)
		b.Write(content)
		return err
	case "stat", "lstat":
		stat := map[string]func(string) (os.FileInfo, error){"stat": os.Stat, "lstat": os.Lstat}[verb]
		fi, err := stat(p)
		if err != nil {
			return err
		}
		fmt.Fprint(b, fi.Mode())
		if fi.Mode().IsRegular() {
			fmt.Fprint(b, fi.Size())
		}
	case "list":
		entries, err := os.ReadDir(p)
		for _, e := range entries {
			fmt.Fprint(b, e.Name(), e.Type(), " ")
		}
		return err
	case "tree":
		return filepath.WalkDir(p, func(at string, d fs.DirEntry, err error) error {
			fmt.Fprint(b, at, " ")
			return err
		})
	case "link":
		target, err := os.Readlink(p)
		b.WriteString(target)
		return err
	case "access":
		return unix.Access(p, unix.X_OK)
	case "at": // by the folder's descriptor
		dir, err := unix.Open(filepath.Dir(p), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		fd, err := unix.Openat(dir, filepath.Base(p), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), p)
		defer f.Close()
		_, err = b.ReadFrom(f)
		return err
	case "child":
		out, err := exec.Command("prog", "survey", "-", "read:"+p, "list:"+p).Output()
		b.Write(out)
		return err
	case "thread":
		var wg sync.WaitGroup
		var content []byte
		var err error
		wg.Go(func() { content, err = os.ReadFile(p) })
		wg.Wait()
		b.Write(content)
		return err
	case "write":
		return os.WriteFile(p, []byte("w"), 0o644)
	case "rm":
		return os.RemoveAll(p)
	case "mv":
		return os.Rename(p, p+".moved")
	case "ln":
		return os.Link(p, p+".linked")
	case "sym":
		return os.Symlink(filepath.Base(p), p+".sym")
	case "chmod":
		return os.Chmod(p, 0o755)
	default:
		return fmt.Errorf("no verb %q", verb)
	}
	return nil
}
