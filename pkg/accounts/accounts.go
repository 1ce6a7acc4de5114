// Package accounts reads and extends the account files of an image (passwd(5), group(5), shadow(5), gshadow(5)), as
// Debian's groupadd and useradd would, without running anything. Lines that it does not understand stay as they are.
//
// It imports pkg/hint and nothing else of jubako.
package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// Files are the account files of an image and the defaults that choose ids; nil where the image lacks one.
type Files struct {
	Passwd, Group, Shadow, GShadow []byte
	LoginDefs                      []byte // /etc/login.defs
	UseraddDefaults                []byte // /etc/default/useradd
}

// Request says which user is wanted.
type Request struct {
	// Name of the user and of its group; "" where a bare number is to do.
	Name string
	// UID and GID are wanted ids, -1 where any will do.
	UID, GID int
}

// User is the answer: who the user is, and what has to be written for it.
type User struct {
	Name, Group string // "" for a bare number
	UID, GID    int
	Home, Shell string
	NewUser     bool // a passwd entry has to be written
	NewGroup    bool // a group entry has to be written
}

// ParseRequest reads what a person writes for a user: "app", "root", "10001" or "10001:10001".
func ParseRequest(s string) (Request, error) {
	r := Request{UID: -1, GID: -1}
	uid, gid, both := strings.Cut(s, ":")
	if n, err := parseID(uid); err == nil {
		r.UID = n
		if both {
			if r.GID, err = parseID(gid); err != nil {
				return r, fmt.Errorf("user %q: the group is no number", s)
			}
		}
		return r, nil
	}
	if s == "" {
		return r, errors.New("the user has no name")
	}
	r.Name = s
	return r, r.check()
}

// nameRE is what Debian's adduser lets a name be.
var nameRE = lazyre.New(`^[a-z_][a-z0-9_-]{0,31}$`)

func (r Request) check() error {
	switch {
	case r.Name != "" && !nameRE().MatchString(r.Name):
		return fmt.Errorf("user %q: a name has at most 32 of a-z, 0-9, _ and -, and starts with a letter or _", r.Name)
	case r.UID > MaxID || r.GID > MaxID:
		return fmt.Errorf("user %q: an id is at most %d", r.Name, MaxID)
	}
	return nil
}

// MaxID is the highest usable id of a user or group: (uid_t)-1 has a meaning of its own.
const MaxID = 1<<32 - 2

func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > MaxID {
		return 0, fmt.Errorf("%q is no id", s)
	}
	return int(n), nil
}

// maxFile bounds an account file in bytes: those of real images have a few thousand.
const maxFile = 4 << 20

func (f Files) checkSize() error {
	for _, x := range []struct {
		name string
		data []byte
	}{
		{"/etc/passwd", f.Passwd}, {"/etc/group", f.Group}, {"/etc/shadow", f.Shadow}, {"/etc/gshadow", f.GShadow},
		{"/etc/login.defs", f.LoginDefs}, {"/etc/default/useradd", f.UseraddDefaults},
	} {
		if len(x.data) > maxFile {
			return fmt.Errorf("reading %s of the base: it has %d bytes; at most %d are read", x.name, len(x.data), maxFile)
		}
	}
	return nil
}

// account is a passwd or group entry, as far as ids need it.
type account struct {
	name     string
	uid, gid int
	home     string
	shell    string
}

// parse reads passwd (fields: name, password, uid, gid, gecos, home, shell) or group (name, password, gid, members).
func parse(b []byte, group bool) []account {
	var all []account
	for line := range bytes.Lines(b) {
		f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
		if len(f) < 4 || f[0] == "" || strings.HasPrefix(f[0], "#") || strings.ContainsAny(f[0][:1], "+-") {
			continue
		}
		id, err := parseID(f[2])
		if err != nil {
			continue
		}
		a := account{name: f[0], uid: id, gid: id}
		if !group {
			if a.gid, err = parseID(f[3]); err != nil || len(f) < 7 {
				continue
			}
			a.home, a.shell = f[5], f[6]
		}
		all = append(all, a)
	}
	return all
}

func byName(all []account, name string) (account, bool) {
	i := slices.IndexFunc(all, func(a account) bool { return a.name == name })
	if name == "" || i < 0 {
		return account{}, false
	}
	return all[i], true
}

func byID(all []account, id int) (account, bool) {
	i := slices.IndexFunc(all, func(a account) bool { return a.uid == id })
	if i < 0 {
		return account{}, false
	}
	return all[i], true
}

// Resolve finds the user in the files, or chooses what a new one is to be: the ids asked for, or those that
// `groupadd -r NAME && useradd -r -g NAME NAME` takes. A clash with an entry that is there is an error that names it.
func (f Files) Resolve(r Request) (User, error) {
	if err := r.check(); err != nil {
		return User{}, hint.Usage(err)
	}
	if err := f.checkSize(); err != nil {
		return User{}, err
	}
	users, groups := parse(f.Passwd, false), parse(f.Group, true)
	if r.Name == "" {
		return resolveNumber(r, users, groups)
	}
	if a, ok := byName(users, r.Name); ok {
		return resolveExisting(r, a, groups)
	}
	u := User{Name: r.Name, Group: r.Name, NewUser: true, Home: f.useraddDefault("HOME", "/home") + "/" + r.Name, Shell: f.useraddDefault("SHELL", "/bin/sh")}
	if g, ok := byName(groups, r.Name); ok {
		if r.GID >= 0 && r.GID != g.gid {
			return User{}, clash("group %s has gid %d in the base, and gid %d is asked for", r.Name, g.gid, r.GID)
		}
		u.GID = g.gid
	} else {
		u.NewGroup = true
		var err error
		if u.GID, err = f.newID("gid", r.GID, r.UID, groups); err != nil {
			return User{}, err
		}
	}
	var err error
	u.UID, err = f.newID("uid", r.UID, -1, users)
	return u, err
}

// resolveNumber is for a user without a name: it needs no entry, and takes the group of one that is there.
func resolveNumber(r Request, users, groups []account) (User, error) {
	u := User{UID: r.UID, GID: r.GID, Home: "/", Shell: "/bin/sh"}
	if a, ok := byID(users, r.UID); ok {
		u.Name, u.Home, u.Shell = a.name, a.home, a.shell
		if u.GID < 0 {
			u.GID = a.gid
		}
	}
	if u.GID < 0 {
		u.GID = u.UID
	}
	if g, ok := byID(groups, u.GID); ok {
		u.Group = g.name
	}
	return u, nil
}

func resolveExisting(r Request, a account, groups []account) (User, error) {
	if r.UID >= 0 && r.UID != a.uid || r.GID >= 0 && r.GID != a.gid {
		return User{}, clash("user %s is %d:%d in the base, and %s:%s is asked for", a.name, a.uid, a.gid, idOrAny(r.UID), idOrAny(r.GID))
	}
	u := User{Name: a.name, UID: a.uid, GID: a.gid, Home: a.home, Shell: a.shell}
	if g, ok := byID(groups, a.gid); ok {
		u.Group = g.name
	}
	return u, nil
}

func idOrAny(id int) string {
	if id < 0 {
		return "any"
	}
	return strconv.Itoa(id)
}

func clash(format string, args ...any) error {
	return hint.Wrap(hint.Usage(fmt.Errorf(format, args...)), `choose another name or other ids: user = { name = "…", uid = …, gid = … }`)
}

// newID takes the wanted id, which must be free; else the preferred one, if it is; else the one that shadow's tools
// choose for a system account.
func (f Files) newID(kind string, wanted, preferred int, taken []account) (int, error) {
	if wanted >= 0 {
		if a, ok := byID(taken, wanted); ok {
			return 0, clash("%s %d is %s's in the base", kind, wanted, a.name)
		}
		return wanted, nil
	}
	if preferred >= 0 {
		if _, ok := byID(taken, preferred); !ok {
			return preferred, nil
		}
	}
	key := strings.ToUpper(kind)
	high := f.loginDef("SYS_"+key+"_MAX", f.loginDef(key+"_MIN", 1000)-1)
	low := f.loginDef("SYS_"+key+"_MIN", 101)
	used := make(map[int]bool)
	lowest := high + 1
	for _, a := range taken {
		used[a.uid] = true
		if a.uid >= low && a.uid <= high {
			lowest = min(lowest, a.uid)
		}
	}
	if lowest-1 >= low && lowest-1 <= high {
		return lowest - 1, nil // one below the lowest system account, as shadow does
	}
	for id := high; id >= low; id-- {
		if !used[id] {
			return id, nil
		}
	}
	return 0, clash("every %s from %d to %d is taken in the base", kind, low, high)
}

// loginDef reads a number from login.defs(5); of a key that stands twice the last counts, as for shadow's tools.
func (f Files) loginDef(key string, otherwise int) int {
	for line := range bytes.Lines(f.LoginDefs) {
		fields := strings.Fields(string(line))
		if len(fields) >= 2 && fields[0] == key {
			if n, err := parseID(fields[1]); err == nil {
				otherwise = n
			}
		}
	}
	return otherwise
}

// useraddDefault reads a value from /etc/default/useradd (useradd(8)); of a key that stands twice the last counts.
func (f Files) useraddDefault(key, otherwise string) string {
	for line := range bytes.Lines(f.UseraddDefaults) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(string(line)), key+"="); ok {
			otherwise = v
		}
	}
	return otherwise
}

// Add gives the files that change, by path ("etc/passwd"), whole. lastChange is the day since 1970 that shadow(5) notes
// as the password's last change; below 1 the field stays empty, which switches ageing off. Files that the image lacks
// are not made, but for passwd and group.
func (f Files) Add(u User, lastChange int) (map[string][]byte, error) {
	for _, v := range []string{u.Name, u.Group, u.Home, u.Shell} {
		if strings.ContainsAny(v, ":\n\r") {
			return nil, errors.New("a name, home or shell holds a colon or a line break")
		}
	}
	files := make(map[string][]byte)
	password := "x" // it stands in shadow
	if f.Shadow == nil {
		password = "!"
	}
	if u.NewGroup {
		files["etc/group"] = addLine(f.Group, fmt.Sprintf("%s:x:%d:", u.Group, u.GID))
		if f.GShadow != nil && !names(f.GShadow, u.Group) {
			files["etc/gshadow"] = addLine(f.GShadow, u.Group+":!::")
		}
	}
	if u.NewUser {
		files["etc/passwd"] = addLine(f.Passwd, fmt.Sprintf("%s:%s:%d:%d::%s:%s", u.Name, password, u.UID, u.GID, u.Home, u.Shell))
		if f.Shadow != nil && !names(f.Shadow, u.Name) {
			day := ""
			if lastChange > 0 {
				day = strconv.Itoa(lastChange)
			}
			files["etc/shadow"] = addLine(f.Shadow, u.Name+":!:"+day+"::::::")
		}
	}
	return files, nil
}

// Paths are the files that Add may give, in order.
func Paths() []string { return slices.Sorted(maps.Keys(defaultModes)) }

// DefaultMode is the mode of an account file that the base lacks.
func DefaultMode(path string) uint32 { return defaultModes[path] }

var defaultModes = map[string]uint32{"etc/passwd": 0o644, "etc/group": 0o644, "etc/shadow": 0o640, "etc/gshadow": 0o640}

// addLine adds an entry at the end, but before the first line that refers to a network service (nsswitch.conf(5), compat):
// such lines stay last, as shadow's tools keep them.
func addLine(b []byte, line string) []byte {
	at := len(b)
	offset := 0
	for l := range bytes.Lines(b) {
		if l[0] == '+' || l[0] == '-' {
			at = offset
			break
		}
		offset += len(l)
	}
	if at > 0 && b[at-1] != '\n' {
		line = "\n" + line
	}
	return slices.Concat(b[:at], []byte(line+"\n"), b[at:])
}

// names says whether a file has a line for a name. shadow and gshadow may: a stale line is kept rather than doubled.
func names(b []byte, name string) bool {
	for l := range bytes.Lines(b) {
		if bytes.HasPrefix(l, []byte(name+":")) {
			return true
		}
	}
	return false
}
