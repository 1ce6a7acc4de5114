package pycache

import (
	"errors"
	"os"
	"path"

	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/sandbox"
)

// live is a folder in which a running command finds bytecode as soon as it is compiled. It begins with what there is. Nil takes
// what nobody waits for.
type live struct {
	dir  string
	root *os.Root
}

func (u *Use) newLive() (*live, error) {
	dir, err := u.c.Store.TempDir("pycache-")
	if err != nil {
		return nil, err
	}
	l := &live{dir: dir}
	l.root, err = os.OpenRoot(dir)
	if err == nil && u.kept.pycs > 0 {
		// No links: on a rung without mounts the command can reach them, and what it does to them is to end with it.
		err = os.CopyFS(dir, os.DirFS(u.dir+Prefix))
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// add puts a pyc where Python looks for it below Prefix, whole or not at all.
func (l *live) add(at string, pyc []byte) error {
	const unfinished = ".unfinished"
	if l == nil {
		return nil
	}
	if err := l.root.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	if err := l.root.WriteFile(unfinished, pyc, 0o644); err != nil {
		return err
	}
	return l.root.Rename(unfinished, at)
}

func (l *live) close() error {
	var err error
	if l.root != nil {
		err = l.root.Close()
	}
	return errors.Join(err, cas.RemoveTree(l.dir))
}

// Shown is what the command is to be shown, so that it finds what is compiled while it runs.
func (u *Use) Shown() sandbox.Shown {
	if u.live == nil {
		return sandbox.Shown{}
	}
	return sandbox.Shown{Path: Prefix, Folder: u.live.dir}
}

// Close removes what was for one run alone.
func (u *Use) Close() error {
	if u.live == nil {
		return nil
	}
	l := u.live
	u.live = nil
	return l.close()
}
