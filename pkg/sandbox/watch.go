package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/observed"
)

// Seen is what a command has looked at in its tree, in no particular order.
type Seen struct {
	Looks []observed.Look
	// Unknown says why that is not known, and Looks empty then: it may have looked at anything.
	Unknown string
}

// The bounds of what one command may look at: paths, and the bytes of all of them.
const (
	maxSeen      = 1 << 20
	maxSeenBytes = 128 << 20
)

// watcher notes the paths that the processes of a step ask something about: each path without a symlink on the way, and
// each symlink that was on the way to it. It notes them as the calls are made, before the kernel answers. What it cannot
// follow makes it give up, which is no error: it says so. It belongs to one thread.
type watcher struct {
	tree   *tree
	shared bool // the tree is the tracer's, which keeps it up to date
	proc   *os.File
	calls  map[uint64]watchedCall
	caller int // the thread whose call is being looked at

	seen    map[string]observed.Kind // by key
	size    int                      // bytes of the keys
	own     map[string]bool          // files that the step has made or emptied, so that what it reads there is its own
	unknown string

	// absolute are absolute paths as they were asked for, with what follows from one and the same answer: most paths are
	// asked for many times.
	absolute map[asked]bool
	barred   bool // the last way ended at what cannot be read
	buf      [pageSize]byte
}

type asked struct {
	path   string
	follow bool
	kind   observed.Kind
}

// newWatcher watches processes whose root is the tree. proc is where this process and they are to be found.
func newWatcher(t *tree, proc *os.File) (*watcher, error) {
	self, err := readlinkAt(proc, "self")
	if err != nil {
		return nil, err
	}
	if self != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("/proc is that of other processes")
	}
	w := &watcher{tree: t, proc: proc, calls: watchedCalls(), seen: make(map[string]observed.Kind), own: make(map[string]bool), absolute: make(map[asked]bool)}
	t.saw = func(key string) { w.saw(key, observed.Stat) }
	return w, nil
}

// giveUp leaves what the step has looked at unknown.
func (w *watcher) giveUp(format string, args ...any) {
	if w.unknown == "" {
		w.unknown = fmt.Sprintf(format, args...)
		w.seen, w.own, w.absolute = nil, nil, nil
		w.tree.bringer.bringAll() // it may look anywhere
	}
}

func (w *watcher) saw(key string, kind observed.Kind) {
	if w.unknown != "" {
		return
	}
	old, known := w.seen[key]
	if known && old >= kind {
		return
	}
	if !known {
		w.size += len(key)
	}
	if w.size > maxSeenBytes || len(w.seen) >= maxSeen {
		w.giveUp("it looked at more than %d paths", maxSeen)
		return
	}
	w.seen[key] = kind
}

// look notes a path and gives the place that it leads to; ok is false where there is no way to it.
func (w *watcher) look(from, p string, follow bool, kind observed.Kind) (at place, ok bool) {
	at, err := w.tree.walk(from, p, follow)
	// What was on the way is noted. Where the way ends for another reason than that nothing is there, it may lead on at another time.
	w.barred = err != nil && err != unix.ENOENT && err != unix.ENOTDIR
	if err != nil {
		return at, false
	}
	w.saw(at.key, kind)
	return at, true
}

// moved forgets where paths lead, when links or directories come or go.
func (w *watcher) moved() {
	clear(w.absolute)
	if w.shared {
		return
	}
	w.tree.dirs, w.tree.links = map[string]*treeDir{"": {full: true}}, make(map[string]string)
}

// dirKey finds where a descriptor of a thread, or its working directory, lies. ok is false where there is none from which
// the kernel would start.
func (w *watcher) dirKey(tid, fd int) (key string, ok bool) {
	name := strconv.Itoa(tid) + "/cwd"
	if fd != unix.AT_FDCWD {
		name = strconv.Itoa(tid) + "/fd/" + strconv.Itoa(fd)
	}
	target, err := readlinkAt(w.proc, name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return "", false
	case err != nil:
		w.giveUp("a process of it hides what it has open: %s", errnoName(err))
		return "", false
	case !strings.HasPrefix(target, "/"):
		if strings.HasPrefix(target, "(") {
			w.giveUp("it looked from a folder outside of its tree")
		}
		return "", false // a pipe, a socket
	}
	key, ok = w.tree.key(target)
	switch {
	case !ok:
		w.giveUp("it looked from a folder outside of its tree")
	case strings.HasSuffix(target, deletedSuffix):
		var st unix.Stat_t
		ok = unix.Lstat(w.tree.host(key), &st) == nil
		if !ok && !w.shared { // ".." leads out of a folder that is gone, and its file can be executed; the tracer allows neither
			w.giveUp("it started from a file or folder that is gone")
		}
	case key == "/":
		key = ""
	}
	return key, ok
}

func readlinkAt(dir *os.File, name string) (string, error) {
	var b [2 * maxPath]byte
	n, err := unix.Readlinkat(int(dir.Fd()), name, b[:])
	return string(b[:max(n, 0)]), err
}

// watchedProcs shows each thread of a step as the process that it asks for by /proc/self.
type watchedProcs struct{ w *watcher }

func (watchedProcs) tgid(pid int) int { return pid }

func (p watchedProcs) program(pid int) string {
	target, err := readlinkAt(p.w.proc, strconv.Itoa(pid)+"/exe")
	if err != nil {
		return "/"
	}
	return target
}

func (p watchedProcs) caller() (tgid, tid int) { return p.w.caller, p.w.caller }

// watchedFiles notes what is looked for before the command itself runs.
type watchedFiles struct {
	files
	w *watcher
}

func (f watchedFiles) mode(p string) (os.FileMode, error) {
	f.w.look("", p, true, observed.Stat)
	return f.files.mode(p)
}

// files are those that f looks for, noted if anybody watches.
func (w *watcher) files(f files) files {
	if w == nil {
		return f
	}
	return watchedFiles{f, w}
}

// watchCommand notes what the command looks at, if that is asked for.
func (t *tracer) watchCommand(cfg config) error {
	if !cfg.Watch {
		return nil
	}
	proc, err := os.Open(procDir)
	if err == nil {
		t.watch, err = newWatcher(t.tree, proc)
	}
	if err == nil {
		t.watch.shared = true
		t.watch.prepared(cfg)
	}
	return err
}

// prepared notes what was looked for when the tree was prepared.
func (w *watcher) prepared(cfg config) {
	for _, dir := range cfg.Writable {
		w.look("", "/"+dir, true, observed.Stat)
	}
}

// alsoAfter has something done when the call has been made, beside what its handler wants.
func (v *verdict) alsoAfter(after func(ret int64)) {
	if after == nil {
		return
	}
	if v.answered {
		after(v.value)
		return
	}
	first := v.after
	v.watch, v.after = true, func(ret int64) {
		if first != nil {
			first(ret)
		}
		after(ret)
	}
}

// The forms in which the first process tells what it knows: a line, and paths that each end with a zero byte.
const (
	seenKnown   = "known"
	seenUnknown = "unknown "
)

// tell tells what was seen by a command that has run to its end.
func (w *watcher) tell(st status) status {
	if w == nil || st.Done == nil {
		return st
	}
	if err := w.write(os.NewFile(seenFD, "seen")); err != nil {
		return status{Trouble: err.Error()}
	}
	return st
}

// write tells what was seen.
func (w *watcher) write(to io.Writer) error {
	if w.unknown != "" {
		return writeUnknown(to, w.unknown)
	}
	b := bufio.NewWriter(to)
	fmt.Fprintln(b, seenKnown)
	for _, key := range slices.Sorted(maps.Keys(w.seen)) {
		fmt.Fprintf(b, "%d%s\x00", w.seen[key], strings.TrimPrefix(key, "/"))
	}
	return b.Flush()
}

func writeUnknown(to io.Writer, why string) error {
	_, err := fmt.Fprintf(to, "%s%s\n", seenUnknown, why)
	return err
}

// seenFile makes the file in which a step's first process tells what was seen.
func (s *step) seenFile() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.scratch, "seen"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

// readSeen reads it when the step has ended.
func readSeen(f *os.File) (*Seen, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxSeenBytes+3*maxSeen))
	if err != nil {
		return nil, err
	}
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	if string(first) != seenKnown {
		why, _ := strings.CutPrefix(string(first), seenUnknown)
		if why == "" {
			why = "it was not watched"
		}
		return &Seen{Unknown: why}, nil
	}
	s := &Seen{}
	for line := range bytes.SplitAfterSeq(rest, []byte{0}) {
		if len(line) == 0 {
			break
		}
		key, whole := bytes.CutSuffix(line[1:], []byte{0})
		kind := observed.Kind(line[0] - '0')
		if !whole || kind > observed.Whole {
			return nil, errors.New("reading what a step has looked at: it is cut")
		}
		p := string(key)
		if p == "" {
			p = "."
		}
		s.Looks = append(s.Looks, observed.Look{Path: p, Kind: kind})
	}
	return s, nil
}

// takeSeen closes the file, with err where the step has not ended well.
func (s *step) takeSeen(f *os.File, err error) error {
	if err != nil {
		_ = f.Close() // it is of no use
		return err
	}
	s.seen, err = readSeen(f)
	return errors.Join(err, f.Close())
}
