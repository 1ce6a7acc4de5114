package accounts

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// Login is whom an engine starts an image's command as.
type Login struct {
	Name     string // "" for an id that /etc/passwd does not have
	UID, GID int
	Groups   []int // beyond GID: those whose members name the user
	Home     string
}

// Lookup reads a config's User as an engine does (OCI image-spec config.md): USER, UID, USER:GROUP or UID:GID, in any
// mixture; "" is root. An id need not be in the files, a name must.
func (f Files) Lookup(s string) (Login, error) {
	if err := f.checkSize(); err != nil {
		return Login{}, err
	}
	user, group, hasGroup := strings.Cut(s, ":")
	if user == "" {
		user = "0"
	}
	users := parse(f.Passwd, false)
	a, ok := byName(users, user)
	if !ok {
		id, err := parseID(user)
		if err != nil {
			return Login{}, hint.Usage(fmt.Errorf("the image's user %q is not in its /etc/passwd", user))
		}
		if a, ok = byID(users, id); !ok {
			a = account{uid: id, home: "/"}
		}
	}
	l := Login{Name: a.name, UID: a.uid, GID: a.gid, Home: a.home}
	if !hasGroup {
		l.Groups = f.memberships(a)
		return l, nil
	}
	if g, ok := byName(parse(f.Group, true), group); ok {
		l.GID = g.gid
		return l, nil
	}
	id, err := parseID(group)
	if err != nil {
		return Login{}, hint.Usage(fmt.Errorf("the image's group %q is not in its /etc/group", group))
	}
	l.GID = id
	return l, nil
}

// memberships gives the groups that name the user among their members (group(5)), in order of their ids.
func (f Files) memberships(a account) (ids []int) {
	if a.name == "" {
		return nil
	}
	for line := range bytes.Lines(f.Group) {
		fields := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(fields) < 4 || !slices.Contains(strings.Split(fields[3], ","), a.name) {
			continue
		}
		if id, err := parseID(fields[2]); err == nil && id != a.gid {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
