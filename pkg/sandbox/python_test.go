package sandbox_test

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// makePython lays out a tree with this machine's Python, its libraries and its dynamic loader, and prog.py as a console
// script, for the tests of the loader rung and of programs that are linked dynamically. The error says what is missing.
func makePython(tree string) error {
	ask := exec.Command("python3", "-c", "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); "+
		"print(sysconfig.get_path('stdlib')); print('%d.%d' % sys.version_info[:2])")
	out, err := ask.Output()
	if err != nil {
		return fmt.Errorf("there is no python3: %w", err)
	}
	said := strings.Fields(string(out))
	if len(said) != 3 {
		return fmt.Errorf("python3 says %q", out)
	}
	exe, stdlib, version := said[0], said[1], "python"+said[2]
	if err := copyTree(stdlib, filepath.Join(tree, "usr/lib", version)); err != nil {
		return err
	}
	libs, err := linked(exe)
	if err != nil {
		return err
	}
	modules, err := filepath.Glob(filepath.Join(stdlib, "lib-dynload/_ctypes.*.so"))
	if err != nil || len(modules) != 1 {
		return fmt.Errorf("python3 has %d modules ctypes (%w)", len(modules), err)
	}
	if err := libraries(modules[0], libs); err != nil {
		return err
	}
	files := map[string]string{"usr/bin/" + version: exe}
	for image, real := range libs {
		files[image] = real
	}
	for image, real := range files {
		if err := copyTree(real, filepath.Join(tree, image)); err != nil {
			return err
		}
	}
	script, err := os.ReadFile("testdata/prog.py")
	if err != nil {
		return err
	}
	bin := filepath.Join(tree, "bin")
	return errors.Join(os.MkdirAll(bin, 0o755), os.Symlink("/usr/bin/"+version, filepath.Join(bin, "python3")),
		os.WriteFile(filepath.Join(bin, "prog"), append([]byte("#!/bin/python3\n"), script...), 0o755))
}

// linked are the libraries of a program by their image paths, and its dynamic loader.
func linked(exe string) (map[string]string, error) {
	f, err := elf.Open(exe)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".interp")
	if s == nil {
		return nil, errors.New("python3 is linked statically")
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	interp := strings.TrimRight(string(b), "\x00")
	libs := map[string]string{interp[1:]: interp}
	return libs, libraries(exe, libs)
}

func libraries(exe string, libs map[string]string) error {
	out, err := exec.Command("ldd", exe).Output()
	if err != nil {
		return fmt.Errorf("ldd: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			real, _, _ := strings.Cut(rest, " ")
			libs["usr/lib/"+name] = real
		}
	}
	return nil
}

// copyTree copies files as they are, links followed, without what no test needs of a standard library.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Name() {
		case "test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "unittest", "distutils", "asyncio", "xml", "xmlrpc", "turtledemo", "site-packages", "dist-packages", "pydoc_data":
			return fs.SkipDir
		}
		if strings.HasPrefix(d.Name(), "config-") && d.IsDir() {
			return fs.SkipDir
		}
		fi, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		dst := to + strings.TrimPrefix(p, from)
		if fi.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return errors.Join(os.MkdirAll(filepath.Dir(dst), 0o755), os.WriteFile(dst, b, 0o755),
			os.Chtimes(dst, fi.ModTime(), fi.ModTime()))
	})
}
