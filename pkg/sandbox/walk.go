package sandbox

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a path leads in a tree.
type place struct {
	key    string
	host   string // on this machine; no symlink is on the way to it, but for one that is itself what was asked for
	exists bool
	dir    bool
	known  bool // st holds what lstat says of it
	st     unix.Stat_t
	// magic says that host is a link of /proc to something without a path in the tree (a pipe, a file that is gone, a
	// file given to the step), which the kernel alone can follow.
	magic bool
}

// maxLinks is how many symlinks the kernel follows on the way to one path.
const maxLinks = 40

// maxPath is the longest path that the kernel takes, its end included (PATH_MAX).
const maxPath = 4096

// walk finds a path as a process whose root is the tree would, from the directory "from" where it is relative. The last
// component need not exist; every other must be a directory, or the error says what the kernel would.
func (t *tree) walk(from, p string, follow bool) (place, error) {
	if p == "" {
		return place{}, unix.ENOENT
	}
	if len(p) >= maxPath {
		return place{}, unix.ENAMETOOLONG
	}
	t.viaProc = false
	at := from
	if p[0] == '/' {
		at = ""
	}
	for links := 0; ; {
		p = strings.TrimLeft(p, "/")
		if p == "" {
			return place{key: at, host: t.host(at), exists: true, dir: true}, t.fill(at)
		}
		name, rest, slash := strings.Cut(p, "/")
		switch name {
		case ".":
			p = rest
			continue
		case "..":
			t.note(at)
			p, at = rest, parentKey(at)
			continue
		}
		key := at + "/" + name
		if t.dirs[key] != nil {
			p, at = rest, key
			continue
		}
		last := strings.Trim(rest, "/") == ""
		found, target, err := t.look(at, key, last && !slash && !follow)
		switch {
		case err != nil:
			t.note(key)
			return place{}, err
		case target != "":
			t.note(key)
			if links++; links > maxLinks {
				return place{}, unix.ELOOP
			}
			if target[0] == '/' {
				at = ""
			}
			p = target
			if slash {
				p += "/" + rest
			}
		case found.dir:
			p, at = rest, key
			if t.dirs[key] == nil && !inProc(key) {
				t.dirs[key] = &treeDir{full: true}
			}
		case !last:
			t.note(key)
			if !found.exists {
				return place{}, unix.ENOENT
			}
			return place{}, unix.ENOTDIR
		case slash && found.exists:
			t.note(key)
			return place{}, unix.ENOTDIR
		default:
			return found, nil
		}
	}
}

// note tells who watches what is on the way to a path: what is followed, left by "..", or where the way ends.
func (t *tree) note(key string) {
	if t.saw != nil {
		t.saw(key)
	}
}

func parentKey(key string) string {
	if i := strings.LastIndexByte(key, '/'); i > 0 {
		return key[:i]
	}
	return ""
}

// look says what stands at a key whose parent is a directory: a place, or the target of a symlink that is to be followed.
func (t *tree) look(parent, key string, keepLink bool) (found place, target string, err error) {
	if inProc(key) {
		t.viaProc = true
		return t.lookProc(key, keepLink)
	}
	if target, ok := t.links[key]; ok && !keepLink {
		return place{}, target, nil
	}
	if err := t.fill(parent); err != nil {
		return place{}, "", err
	}
	if t.dirs[key] != nil { // it has just come
		return place{key: key, dir: true}, "", nil
	}
	found = place{key: key, host: t.host(key)}
	link, err := found.discover()
	if err != nil || !link {
		return found, "", err
	}
	if target, err = os.Readlink(found.host); err != nil {
		return place{}, "", err
	}
	if target == "" {
		return place{}, "", unix.ENOENT
	}
	if t.mountOf(key) == nil {
		t.links[key] = target
	}
	if keepLink {
		return found, "", nil
	}
	return place{}, target, nil
}

// discover looks for the host's file, and says whether it is a symlink. That there is none is no error.
func (p *place) discover() (link bool, err error) {
	err = unix.Lstat(p.host, &p.st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	format := p.st.Mode & unix.S_IFMT
	p.exists, p.known, p.dir = true, true, format == unix.S_IFDIR
	return format == unix.S_IFLNK, nil
}

const procDir = "/proc"

func inProc(key string) bool { return within(key, procDir) }

// lookProc is look in /proc, which shows the step's own processes and no others, and its root as the root.
func (t *tree) lookProc(key string, keepLink bool) (found place, target string, err error) {
	found = place{key: key, host: t.host(key)}
	if key == procDir {
		found.exists, found.dir = true, true
		return found, "", nil
	}
	if t.procs != nil {
		if target := t.ownProcess(key); target != "" && !keepLink {
			return place{}, target, nil
		}
		first, _, _ := strings.Cut(key[len(procDir)+1:], "/")
		if pid := number(first); pid != 0 && t.procs.tgid(pid) == 0 {
			return found, "", nil // as if there were no such process
		}
	}
	link, err := found.discover()
	if err != nil || !link || keepLink {
		return found, "", err
	}
	target, ok, err := t.readProcLink(key, found.host)
	if err != nil {
		return place{}, "", err
	}
	if !ok {
		found.magic = true
		return found, "", nil
	}
	return place{}, target, nil
}

// ownProcess is where /proc/self and /proc/thread-self lead for the process that asks.
func (t *tree) ownProcess(key string) string {
	tgid, tid := t.procs.caller()
	switch key {
	case procDir + "/self":
		return strconv.Itoa(tgid)
	case procDir + "/thread-self":
		return strconv.Itoa(tgid) + "/task/" + strconv.Itoa(tid)
	}
	return ""
}

// readProcLink is what a link of /proc says, as an image path; ok is false where it leads to something that has none.
func (t *tree) readProcLink(key, host string) (target string, ok bool, err error) {
	target, err = os.Readlink(host)
	if err != nil {
		return "", false, errnoOf(err)
	}
	if t.procs == nil {
		return target, true, nil
	}
	pid, rest := splitPID(key)
	if pid == 0 {
		if target == "" {
			return "", false, unix.ENOENT
		}
		return target, true, nil // as /proc/mounts, which leads to self/mounts
	}
	switch path.Base(rest) {
	case "exe":
		return t.procs.program(pid), true, nil
	case "root":
		return "/", true, nil
	}
	if image, ok := t.key(target); ok && !strings.HasSuffix(target, deletedSuffix) {
		return imagePath(image), true, nil
	}
	return target, false, nil
}

// deletedSuffix is what the kernel writes behind the path of a file that is gone.
const deletedSuffix = " (deleted)"

// splitPID takes /proc/PID or /proc/PID/task/TID off the front of a key.
func splitPID(key string) (pid int, rest string) {
	rest = strings.TrimPrefix(key, procDir+"/")
	first, rest, _ := strings.Cut(rest, "/")
	return number(first), rest
}

func errnoOf(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}
