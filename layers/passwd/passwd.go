// Package passwd makes the layer with the account files: the base's own, and the service's user at their end.
package passwd

import (
	"context"
	"fmt"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

// Layer is the passwd layer. It implements layers.Layer.
type Layer struct {
	user  accounts.User
	files []file
}

// file is an account file as it will stand in the image.
type file struct {
	Path     string
	Mode     uint32
	UID, GID int
	Content  []byte
}

// FilesOf gathers the account files of a base.
func FilesOf(f *base.Facts) accounts.Files {
	return accounts.Files{Passwd: f.Passwd, Group: f.Group, Shadow: f.Shadow, GShadow: f.GShadow, LoginDefs: f.LoginDefs, UseraddDefaults: f.UseraddDefaults}
}

// New makes the layer that brings the user into the base. epoch, in seconds since 1970, dates the password's last change.
func New(facts *base.Facts, user accounts.User, epoch int64) (*Layer, error) {
	const day = 24 * 60 * 60
	changed, err := FilesOf(facts).Add(user, int(epoch/day))
	if err != nil {
		return nil, err
	}
	l := &Layer{user: user}
	for _, p := range accounts.Paths() {
		content, ok := changed[p]
		if !ok {
			continue
		}
		f := file{Path: p, Mode: accounts.DefaultMode(p), Content: content}
		if there, ok := facts.Files[p]; ok {
			if there.Kind != fstree.File {
				return nil, fmt.Errorf("/%s of the base is a %s, and was to be a file", p, there.Kind)
			}
			f.Mode, f.UID, f.GID = there.Mode, there.UID, there.GID
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

// Empty says that the base has the user already: there is nothing to write, and no layer is wanted.
func (l *Layer) Empty() bool { return len(l.files) == 0 }

// Name is "passwd".
func (l *Layer) Name() string { return "passwd" }

// Summary is the user's name and ids: "app 999:999".
func (l *Layer) Summary() string { return fmt.Sprintf("%s %d:%d", l.user.Name, l.user.UID, l.user.GID) }

// Key depends on the files' content, which depends on the base's and on the user.
func (l *Layer) Key() layers.Key { return layers.KeyOf("passwd", l.files) }

// Tree holds the account files that change.
func (l *Layer) Tree(context.Context) (*fstree.Tree, error) {
	var t fstree.Tree
	for _, f := range l.files {
		e := fstree.Entry{Path: f.Path, Kind: fstree.File, Mode: f.Mode, UID: f.UID, GID: f.GID, Content: fstree.Bytes(f.Content), Producer: "the passwd layer"}
		if err := t.Add(e); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

// Close has nothing to release.
func (l *Layer) Close() error { return nil }
