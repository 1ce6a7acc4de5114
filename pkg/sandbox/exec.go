package sandbox

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxScripts  = 5   // interpreters of interpreters that the kernel follows
	maxShebang  = 256 // bytes of a first line that the kernel reads (BINPRM_BUF_SIZE)
	maxSegments = 128 // program headers of an ELF file
)

// program is what execve(2) is to run.
type program struct {
	at    place
	front []string // arguments that take the place of the first
}

// execve lets the kernel run a program of the tree. The kernel would take the interpreter that a program names from this
// machine's root, so that it is given the tree's own as the program, with the program as its argument.
func (c *call) execve(dirArg, pathArg, argvArg, flags int) (verdict, error) {
	p, err := c.readString(c.task.tid, c.args[pathArg], maxPath)
	if err != nil {
		return verdict{}, err
	}
	var at place
	if p == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if at, err = c.fdProgram(c.fd(dirArg)); err == nil {
			p = imagePath(at.key)
		}
	} else {
		at, err = c.find(dirArg, p, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	}
	if err != nil {
		return verdict{}, err
	}
	prog := program{at: at}
	interp, err := c.throughScripts(&prog, p)
	if err != nil {
		return verdict{}, err
	}
	argv, err := readVector(c.task.tid, c.args[argvArg])
	if err != nil {
		return verdict{}, err
	}
	host := prog.at.host
	if interp != "" {
		if host, argv, err = c.throughLoader(&prog, interp, argv); err != nil {
			return verdict{}, err
		}
	}
	if prog.front != nil {
		if argv, err = c.prepend(prog.front, argv); err != nil {
			return verdict{}, err
		}
		vector, err := c.put(pointers(argv))
		if err != nil {
			return verdict{}, err
		}
		c.setArg(argvArg, vector)
	}
	if dirArg != noDir {
		c.setArg(4, 0)
	}
	return verdict{exec: imagePath(prog.at.key)}, c.setPath(pathArg, host)
}

func pointers(argv []uint64) []byte {
	b := make([]byte, 0, 8*(len(argv)+1))
	for _, p := range argv {
		b = binary.NativeEndian.AppendUint64(b, p)
	}
	return append(b, make([]byte, 8)...)
}

// fdProgram is the program that a descriptor has open.
func (c *call) fdProgram(fd int) (place, error) {
	host, err := c.fdPath(fd)
	if err != nil {
		return place{}, err
	}
	key, ok := c.tree.key(host)
	if !ok || strings.HasSuffix(host, deletedSuffix) {
		return place{}, unix.EACCES // a program without a name has none that an interpreter could be given
	}
	return c.tree.walk("", key, true)
}

// throughScripts follows the first lines of scripts to a program proper, and gives the interpreter that this names.
func (c *call) throughScripts(prog *program, called string) (interp string, err error) {
	for range maxScripts {
		if err := runnable(&prog.at); err != nil {
			return "", err
		}
		interp, shebang, err := readProgram(prog.at.host)
		if err != nil || shebang == nil {
			return interp, err
		}
		if prog.front == nil {
			prog.front = []string{called}
		} else {
			prog.front[0] = called
		}
		prog.front = append(shebang, prog.front...)
		called = shebang[0]
		if prog.at, err = c.find(noDir, called, true); err != nil {
			return "", err
		}
	}
	return "", unix.ELOOP
}

func runnable(at *place) error {
	switch {
	case !at.exists:
		return unix.ENOENT
	case at.dir || at.magic:
		return unix.EACCES
	}
	if err := at.stat(); err != nil {
		return err
	}
	if at.st.Mode&unix.S_IFMT != unix.S_IFREG || at.st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	p, err := unix.BytePtrFromString(at.host)
	if err != nil {
		return unix.EINVAL
	}
	fdcwd := unix.AT_FDCWD
	if _, _, e := unix.RawSyscall(unix.SYS_FACCESSAT, uintptr(fdcwd), uintptr(unsafe.Pointer(p)), unix.X_OK); e != 0 {
		return e
	}
	return nil
}

// throughLoader makes the tree's dynamic loader the program, and what it loads its argument.
func (c *call) throughLoader(prog *program, interp string, argv []uint64) (host string, _ []uint64, err error) {
	ld, err := c.find(noDir, interp, true)
	if err == nil {
		err = runnable(&ld)
	}
	if err != nil {
		return "", nil, err
	}
	path := imagePath(prog.at.key)
	if prog.front != nil { // a script's interpreter: its name is the first argument
		front := append([]string{interp, "--argv0", prog.front[0], path}, prog.front[1:]...)
		if !c.knowsArgv0(&ld) {
			front = append([]string{interp, prog.front[0]}, prog.front[1:]...)
		}
		prog.front = front
		return ld.host, argv, nil
	}
	name := path
	if len(argv) > 0 {
		if name, err = c.readString(c.task.tid, argv[0], 32*maxPath); err != nil {
			return "", nil, err
		}
	}
	prog.front = []string{interp, "--argv0", name, path}
	if !c.knowsArgv0(&ld) {
		prog.front = []string{interp, path}
	}
	return ld.host, argv, nil
}

// prepend gives arguments that begin with front, in place of the first of argv.
func (c *call) prepend(front []string, argv []uint64) ([]uint64, error) {
	out := make([]uint64, 0, len(front)+len(argv))
	for _, s := range front {
		p, err := c.put(append([]byte(s), 0))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if len(argv) > 0 {
		out = append(out, argv[1:]...)
	}
	return out, nil
}

// knowsArgv0 says whether a dynamic loader takes the option --argv0 (glibc 2.33, musl 1.2.2): its name is in its text.
func (t *tracer) knowsArgv0(ld *place) bool {
	if known, ok := t.argv0[ld.st.Ino]; ok {
		return known
	}
	b, err := readStart(ld.host, 8<<20)
	known := err == nil && bytes.Contains(b, []byte("argv0"))
	t.argv0[ld.st.Ino] = known
	return known
}

func readStart(host string, limit int64) (_ []byte, err error) {
	f, err := os.Open(host)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// readProgram reads what the kernel would of a file that is to be executed: the interpreter that an ELF file names,
// which a static one does not, or the words of a script's first line.
func readProgram(host string) (interp string, shebang []string, err error) {
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK, 0) // what stands there may be a pipe, which would wait for a writer
	if err != nil {
		return "", nil, errnoOf(err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", nil, unix.EACCES
	}
	b := make([]byte, maxShebang)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, errnoOf(err)
	}
	b = b[:n]
	if bytes.HasPrefix(b, []byte("#!")) {
		shebang, err := parseShebang(b[2:])
		return "", shebang, err
	}
	interp, err = elfInterpreter(f, b)
	return interp, nil, err
}

// parseShebang gives the interpreter of a script and its one argument, if it has one. The error is ENOEXEC.
func parseShebang(b []byte) ([]string, error) {
	line, _, whole := bytes.Cut(b, []byte("\n"))
	text := strings.Trim(string(line), " \t")
	name, arg, more := text, "", false
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		name, arg, more = text[:i], strings.Trim(text[i:], " \t"), true
	}
	if name == "" || !whole && !more && len(b) >= maxShebang-2 || strings.ContainsRune(text, 0) {
		return nil, unix.ENOEXEC
	}
	if arg == "" {
		return []string{name}, nil
	}
	return []string{name, arg}, nil
}

var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// elfInterpreter reads PT_INTERP of a 64-bit little-endian ELF file for this machine (elf(5)), "" where there is none.
// start are the file's first bytes. What is not such a file is ENOEXEC.
func elfInterpreter(r io.ReaderAt, start []byte) (string, error) {
	var h elf.Header64
	if len(start) < binary.Size(h) {
		return "", unix.ENOEXEC
	}
	if _, err := binary.Decode(start, binary.LittleEndian, &h); err != nil {
		return "", unix.ENOEXEC
	}
	if string(h.Ident[:4]) != elf.ELFMAG || elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB || elf.Machine(h.Machine) != elfMachines[runtime.GOARCH] {
		return "", unix.ENOEXEC
	}
	var ph elf.Prog64
	size := binary.Size(ph)
	if int(h.Phentsize) != size || h.Phnum > maxSegments || h.Phoff > 1<<40 {
		return "", unix.ENOEXEC
	}
	b := make([]byte, size*int(h.Phnum))
	if _, err := r.ReadAt(b, int64(h.Phoff)); err != nil {
		return "", unix.ENOEXEC
	}
	for ; len(b) >= size; b = b[size:] {
		if _, err := binary.Decode(b, binary.LittleEndian, &ph); err != nil {
			return "", unix.ENOEXEC
		}
		if elf.ProgType(ph.Type) != elf.PT_INTERP {
			continue
		}
		if ph.Filesz < 2 || ph.Filesz > maxPath || ph.Off > 1<<40 {
			return "", unix.ENOEXEC
		}
		name := make([]byte, ph.Filesz)
		if _, err := r.ReadAt(name, int64(ph.Off)); err != nil || name[len(name)-1] != 0 {
			return "", unix.ENOEXEC
		}
		name, _, _ = bytes.Cut(name, []byte{0})
		if len(name) == 0 {
			return "", unix.ENOEXEC
		}
		return string(name), nil
	}
	return "", nil
}
