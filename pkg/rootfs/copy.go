package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Copy makes dst, an empty directory that nobody else uses, a private copy of the whole view, for a step that runs where
// overlayfs is refused. No file is linked: whatever the step does to it, the trees stay as they are. Where the file
// system can share blocks, it does.
func (v View) Copy(ctx context.Context, dst string) error {
	root, err := v.Root()
	if err != nil {
		return err
	}
	if err := copyDir(ctx, root, dst); err != nil {
		return fmt.Errorf("copying the tree: %w", err)
	}
	return nil
}

func copyDir(ctx context.Context, n Node, dst string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	children, err := n.Children()
	if err != nil {
		return err
	}
	for _, c := range children {
		to := filepath.Join(dst, c.Info.Name())
		switch mode := c.Info.Mode(); {
		case mode.IsDir():
			if err = os.Mkdir(to, 0o700); err == nil {
				err = copyDir(ctx, c, to)
			}
		case mode.IsRegular():
			err = copyFile(c, to)
		case mode&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(c.Real()); err == nil {
				err = os.Symlink(target, to)
			}
		}
		if err != nil {
			return err
		}
	}
	return os.Chmod(dst, n.Info.Mode().Perm()|0o700)
}

func copyFile(n Node, to string) (err error) {
	from, err := os.Open(n.Real())
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Chmod(n.Info.Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, n.Info.ModTime(), n.Info.ModTime())
}
