package debian

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/maintscript"
)

const (
	producerAccounts = "the packages' accounts"
	noLogin          = "/usr/sbin/nologin"
	maxID            = 1<<32 - 2
)

// sysuser is a line of sysusers.d(5).
type sysuser struct {
	kind, name, id, gecos, home, shell string
}

// parseSysusers reads a file of sysusers.d.
func parseSysusers(b []byte) ([]sysuser, error) {
	var all []sysuser
	n := 0
	for l := range bytes.Lines(b) {
		n++
		f, err := fields(strings.TrimSpace(string(l)))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 || len(f) > 6 {
			return nil, fmt.Errorf("line %d: it has %d fields", n, len(f))
		}
		f = append(f, make([]string, 6-len(f))...)
		for i := range f {
			if f[i] == "-" {
				f[i] = ""
			}
			if strings.ContainsAny(f[i], ":\n\x00") && i != 2 {
				return nil, fmt.Errorf("line %d: %.40q cannot stand in passwd", n, f[i])
			}
		}
		u := sysuser{f[0], f[1], f[2], f[3], f[4], f[5]}
		switch u.kind {
		case "u", "u!", "g", "m", "r":
		default:
			return nil, fmt.Errorf("line %d: lines of type %.10q are not known", n, u.kind)
		}
		if u.kind != "r" && !accountName(u.name) {
			return nil, fmt.Errorf("line %d: %.40q is no name", n, u.name)
		}
		all = append(all, u)
	}
	return all, nil
}

// fields cuts a line at blanks, but not within quotes.
func fields(line string) ([]string, error) {
	var all []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		if c := line[0]; c == '"' || c == '\'' {
			end := strings.IndexByte(line[1:], c)
			if end < 0 {
				return nil, errors.New("a quote is not closed")
			}
			all = append(all, line[1:1+end])
			line = line[end+2:]
			continue
		}
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		all = append(all, line[:end])
		line = line[end:]
	}
	return all, nil
}

func accountName(s string) bool {
	if s == "" || len(s) > 31 || s[0] == '-' || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// sysusers is systemd-sysusers FILE…, as a package's script calls it.
func (s *scriptRun) sysusers(args []string) error {
	var names []string
	for _, a := range args[min(1, len(args)):] {
		if !strings.HasPrefix(a, "-") {
			names = append(names, path.Base(a))
		}
	}
	for _, e := range s.p.content.Entries {
		if path.Dir(e.Name) != "/usr/lib/sysusers.d" || e.Kind != fstree.File || !strings.HasSuffix(e.Name, ".conf") ||
			len(names) > 0 && !slices.Contains(names, path.Base(e.Name)) {
			continue
		}
		data, err := contentOf(fstree.Entry{Path: e.Path(), Producer: s.p.String(), Content: s.p.content.Content(e)})
		if err != nil {
			return err
		}
		lines, err := parseSysusers(data)
		if err != nil {
			return fmt.Errorf("reading %s: %w", e.Name, err)
		}
		for _, pass := range []string{"g", "u", "m"} { // groups first, members last
			for _, l := range lines {
				if l.kind[:1] != pass {
					continue
				}
				if err := s.b.sysuser(l); err != nil {
					return fmt.Errorf("reading %s: %w", e.Name, err)
				}
			}
		}
	}
	s.handled()
	return nil
}

// sysuser brings an account about, as systemd-sysusers does.
func (b *builder) sysuser(u sysuser) error {
	switch u.kind[:1] {
	case "g":
		gid, err := wantedID(u.id)
		if err != nil {
			return err
		}
		return b.addGroup(u.name, gid, "!*")
	case "m":
		return b.addMember(u.name, u.id)
	}
	if _, err := idOf(b.accounts.Passwd, u.name); err == nil {
		return nil
	}
	first, second, both := strings.Cut(u.id, ":")
	uid, err := wantedID(first)
	if err != nil {
		return err
	}
	if uid >= 0 && taken(b.accounts.Passwd, uid) {
		uid = -1
	}
	gid := -1
	switch {
	case both:
		if gid, err = strconv.Atoi(second); err != nil {
			if gid, err = idOf(b.accounts.Group, second); err != nil {
				return err
			}
		}
	default:
		if gid, err = idOf(b.accounts.Group, u.name); err != nil {
			// One number for both, where it is free.
			if uid < 0 {
				uid = b.freeID(true)
			}
			if err := b.addGroup(u.name, uid, "!*"); err != nil {
				return err
			}
			if gid, err = idOf(b.accounts.Group, u.name); err != nil {
				return err
			}
		} else if uid < 0 && !taken(b.accounts.Passwd, gid) {
			uid = gid
		}
	}
	if uid < 0 {
		uid = b.freeID(false)
	}
	home, shell := u.home, u.shell
	if home == "" {
		home = "/"
	}
	if shell == "" {
		shell = noLogin
	}
	b.addUser(u.name, uid, gid, u.gecos, home, shell, "!*")
	return nil
}

// wantedID reads the ID of a sysusers line; -1 for any, and for a path's owner, which here is root's.
func wantedID(s string) (int, error) {
	if s == "" || s == "-" || strings.HasPrefix(s, "/") {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, fmt.Errorf("%.40q is no id", s)
	}
	return int(n), nil
}

// taken says whether an account file has an id.
func taken(file []byte, id int) bool {
	want := strconv.Itoa(id)
	for l := range bytes.Lines(file) {
		f := strings.SplitN(string(l), ":", 4)
		if len(f) == 4 && f[2] == want {
			return true
		}
	}
	return false
}

// freeID is the highest id of the system's range that nobody has: systemd's choice.
func (b *builder) freeID(group bool) int {
	const highest, lowest = 999, 101
	for id := highest; id >= lowest; id-- {
		if !taken(b.accounts.Passwd, id) && (!group || !taken(b.accounts.Group, id)) {
			return id
		}
	}
	return lowest
}

func appendLine(file []byte, line string) []byte {
	if len(file) > 0 && file[len(file)-1] != '\n' {
		file = append(file[:len(file):len(file)], '\n')
	}
	return append(file[:len(file):len(file)], line+"\n"...)
}

func (b *builder) addGroup(name string, gid int, password string) error {
	if _, err := idOf(b.accounts.Group, name); err == nil {
		return nil
	}
	if gid < 0 || taken(b.accounts.Group, gid) {
		gid = -1
		const highest, lowest = 999, 101
		for id := highest; id >= lowest && gid < 0; id-- {
			if !taken(b.accounts.Group, id) && !taken(b.accounts.Passwd, id) {
				gid = id
			}
		}
		if gid < 0 {
			return fmt.Errorf("no id is free for the group %s", name)
		}
	}
	b.accounts.Group = appendLine(b.accounts.Group, fmt.Sprintf("%s:x:%d:", name, gid))
	if b.accounts.GShadow != nil {
		b.accounts.GShadow = appendLine(b.accounts.GShadow, name+":"+password+"::")
	}
	b.accounted = true
	return nil
}

func (b *builder) addUser(name string, uid, gid int, gecos, home, shell, password string) {
	secret := "x"
	if b.accounts.Shadow == nil {
		secret = "*"
	}
	b.accounts.Passwd = appendLine(b.accounts.Passwd, fmt.Sprintf("%s:%s:%d:%d:%s:%s:%s", name, secret, uid, gid, gecos, home, shell))
	if b.accounts.Shadow != nil {
		changed := ""
		if d := b.o.Epoch / day; d > 0 {
			changed = strconv.FormatInt(d, 10)
		}
		b.accounts.Shadow = appendLine(b.accounts.Shadow, name+":"+password+":"+changed+"::::::")
	}
	b.accounted = true
}

// addMember makes a user a member of a group.
func (b *builder) addMember(user, group string) error {
	if _, err := idOf(b.accounts.Group, group); err != nil {
		return err
	}
	edit := func(file []byte) []byte {
		var out []byte
		for l := range bytes.Lines(file) {
			line := strings.TrimRight(string(l), "\n")
			f := strings.Split(line, ":")
			if len(f) == 4 && f[0] == group {
				members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
				if !slices.Contains(members, user) {
					f[3] = strings.Join(append(members, user), ",")
				}
				line = strings.Join(f, ":")
			}
			out = append(out, line+"\n"...)
		}
		return out
	}
	b.accounts.Group = edit(b.accounts.Group)
	if b.accounts.GShadow != nil {
		b.accounts.GShadow = edit(b.accounts.GShadow)
	}
	b.accounted = true
	return nil
}

// adduser is adduser --system and addgroup --system, with literal words (adduser(8)).
func (s *scriptRun) adduser(c maintscript.Command) error {
	args := literal(c)
	if len(args) != len(c.Args) {
		s.unhandled("it makes an account that only a shell could name")
		return nil
	}
	value := func(i *int, a, name string) (string, bool) {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v, true
		}
		if a == name && *i+1 < len(args) {
			*i++
			return args[*i], true
		}
		return "", false
	}
	var names []string
	var system, group bool
	home, shell, gecos, ingroup, uid, gid := "/nonexistent", noLogin, "", "", "", ""
	for i := 1; i < len(args); i++ {
		a := args[i]
		matched := false
		for name, to := range map[string]*string{"--home": &home, "--shell": &shell, "--gecos": &gecos, "--comment": &gecos, "--ingroup": &ingroup, "--uid": &uid, "--gid": &gid} {
			if v, ok := value(&i, a, name); ok {
				*to, matched = v, true
				break
			}
		}
		switch {
		case matched:
		case a == "--system":
			system = true
		case a == "--group":
			group = true
		case strings.HasPrefix(a, "-"):
		default:
			names = append(names, a)
		}
	}
	if c.Name() == "addgroup" {
		group, names = true, names[:min(1, len(names))]
	}
	if len(names) == 2 && c.Name() == "adduser" {
		s.handled()
		return s.b.addMember(names[0], names[1])
	}
	if len(names) != 1 || !system || !accountName(names[0]) || strings.ContainsAny(home+shell+gecos, ":\n") {
		s.unhandled("it runs %s", shown(c, 0))
		return nil
	}
	s.handled()
	return s.b.systemUser(names[0], c.Name() == "adduser", group, home, shell, gecos, ingroup, uid, gid)
}

// systemUser makes the account with the lowest free id from 100 on, as adduser does.
func (b *builder) systemUser(name string, user, group bool, home, shell, gecos, ingroup, uid, gid string) error {
	const lowest, highest, nogroup = 100, 999, 65534
	free := func(files ...[]byte) int {
		for id := lowest; id <= highest; id++ {
			if !slices.ContainsFunc(files, func(f []byte) bool { return taken(f, id) }) {
				return id
			}
		}
		return highest
	}
	group = group || user && gid == "" && ingroup == "" && group
	g := nogroup
	var err error
	switch {
	case group:
		id, err := wantedID(gid)
		if err != nil {
			return err
		}
		if id < 0 {
			id = free(b.accounts.Group)
			if user {
				id = free(b.accounts.Passwd, b.accounts.Group)
			}
		}
		if err := b.addGroup(name, id, "!"); err != nil {
			return err
		}
		if g, err = idOf(b.accounts.Group, name); err != nil {
			return err
		}
	case ingroup != "":
		if g, err = idOf(b.accounts.Group, ingroup); err != nil {
			return err
		}
	case gid != "":
		if g, err = wantedID(gid); err != nil {
			return err
		}
	}
	if _, err := idOf(b.accounts.Passwd, name); !user || err == nil {
		return nil
	}
	u, err := wantedID(uid)
	if err != nil {
		return err
	}
	if u < 0 {
		u = free(b.accounts.Passwd)
		if group && !taken(b.accounts.Passwd, g) {
			u = g
		}
	}
	b.addUser(name, u, g, gecos, home, shell, "!")
	return nil
}

// writeAccounts puts the account files into the layer, where packages have changed them.
func (b *builder) writeAccounts() error {
	if !b.accounted {
		return nil
	}
	for _, f := range []struct {
		path   string
		mode   uint32
		before []byte
		now    []byte
	}{
		{"etc/passwd", 0o644, b.base.Passwd, b.accounts.Passwd}, {"etc/group", 0o644, b.base.Group, b.accounts.Group},
		{"etc/shadow", 0o640, b.base.Shadow, b.accounts.Shadow}, {"etc/gshadow", 0o640, b.base.GShadow, b.accounts.GShadow},
	} {
		if f.now == nil || bytes.Equal(f.before, f.now) {
			continue
		}
		if err := b.file(f.path, f.mode, f.now); err != nil {
			return err
		}
	}
	return nil
}
