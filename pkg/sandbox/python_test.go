package sandbox_test

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// modules asks Python for its program, its version, and the files of the modules that prog.py and Python itself may load: the
// whole of the standard library would be copied hundreds of times.
const modules = `
import contextlib, ctypes, encodings.ascii, encodings.idna, encodings.latin_1, errno, linecache, mimetypes, os, shutil, signal, site, socket
import subprocess, sys, sysconfig, time, tokenize, traceback
print(os.path.realpath(sys.executable))
print(sysconfig.get_path("stdlib"))
print("%d.%d" % sys.version_info[:2])
for m in list(sys.modules.values()):
    for f in (getattr(m, "__file__", None), getattr(m, "__cached__", None)):
        if f and os.path.exists(f):
            print(f)
`

// makePython lays out a tree with this machine's Python, its libraries and its dynamic loader, and prog.py as a console
// script, for the tests of the loader rung and of programs that are linked dynamically. The error says what is missing.
func makePython(tree string) error {
	out, err := exec.Command("python3", "-I", "-c", modules).Output()
	if err != nil {
		return fmt.Errorf("there is no python3: %w", err)
	}
	said := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(said) < 10 {
		return fmt.Errorf("python3 says %q", out)
	}
	exe, stdlib, version := said[0], said[1], "python"+said[2]
	files := map[string]string{"usr/bin/" + version: exe}
	for _, f := range said[3:] {
		if rest, ok := strings.CutPrefix(f, stdlib+"/"); ok && !strings.HasPrefix(rest, "site-packages/") {
			files[path.Join("usr/lib", version, rest)] = f
		}
	}
	libs, err := linked(exe)
	if err != nil {
		return err
	}
	ctypes, err := filepath.Glob(filepath.Join(stdlib, "lib-dynload/_ctypes.*.so"))
	if err != nil || len(ctypes) != 1 {
		return fmt.Errorf("python3 has %d modules ctypes (%w)", len(ctypes), err)
	}
	if err := libraries(ctypes[0], libs); err != nil {
		return err
	}
	for image, real := range libs {
		files[image] = real
	}
	for image, real := range files {
		if err := copyFile(real, filepath.Join(tree, image)); err != nil {
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

// copyFile copies a file, links followed, with its time, which is how Python knows what it has compiled.
func copyFile(from, to string) error {
	fi, err := os.Stat(from)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o755), os.Chtimes(to, fi.ModTime(), fi.ModTime()))
}
