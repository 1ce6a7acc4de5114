package debian

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/fstree"
)

const (
	infoDir    = "var/lib/dpkg/info/"
	triggerDir = "var/lib/dpkg/triggers/"
)

// statusFields is the order in which dpkg writes a stanza of its status; what is not among them follows as it came.
var statusFields = []string{
	"Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size", "Origin", "Maintainer", "Bugs", "Architecture",
	"Multi-Arch", "Source", "Version", "Config-Version", "Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks",
	"Conflicts", "Enhances", "Conffiles", "Description", "Triggers-Pending", "Triggers-Awaited",
}

// file adds a file that jubako writes itself. What stands there in the base keeps its mode and owner.
func (b *builder) file(at string, mode uint32, content []byte) error {
	at, err := b.canonical(at)
	if err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	x := fstree.Entry{Path: at, Kind: fstree.File, Mode: mode, Content: fstree.Bytes(content), Producer: "the debian layer"}
	if s, ok := b.base.Files[at]; ok && !b.gone[at] && s.Kind == fstree.File {
		x.Mode, x.UID, x.GID = s.Mode, s.UID, s.GID
	}
	return b.write(x)
}

// database carries dpkg's database on.
func (b *builder) database() error {
	if b.dpkg.Database() == "status.d" {
		return b.statusD()
	}
	if err := b.file("var/lib/dpkg/status", 0o644, b.statusFile()); err != nil {
		return err
	}
	if len(b.guards) > 0 {
		const at = "var/lib/dpkg/diversions"
		if err := b.file(at, 0o644, append(slices.Clone(b.dpkg.Files[at]), b.guards...)); err != nil {
			return err
		}
	}
	if b.scratch() {
		if err := b.emptyDatabase(); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(mapKeys(b.changed)) {
		if err := b.file(infoDir+key+".list", 0o644, listFile(b.lists[key])); err != nil {
			return err
		}
	}
	for _, p := range b.pkgs {
		if err := b.info(p); err != nil {
			return err
		}
	}
	return b.triggers()
}

// emptyDatabase is what dpkg wants to find beside its status.
func (b *builder) emptyDatabase() error {
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/parts", "var/lib/dpkg/alternatives", "var/lib/dpkg/triggers"} {
		if _, ok := b.look(dir); !ok {
			if err := b.tree.Add(fstree.Entry{Path: dir, Kind: fstree.Dir, Mode: 0o755, Producer: "the debian layer"}); err != nil {
				return err
			}
		}
	}
	for name, content := range map[string]string{"available": "", "info/format": "1\n", "diversions": "", "statoverride": "", "triggers/File": "", "triggers/Unincorp": ""} {
		if _, ok := b.look("var/lib/dpkg/" + name); ok {
			continue
		}
		if err := b.file("var/lib/dpkg/"+name, 0o644, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}

func listFile(names []string) []byte { return []byte(strings.Join(names, "\n") + "\n") }

// statusFile writes the status whole. Stanzas of packages that stay are as they were.
func (b *builder) statusFile() []byte {
	type stanza struct {
		name, arch string
		text       []byte
	}
	upgraded := make(map[string]bool)
	var all []stanza
	for _, p := range b.pkgs {
		upgraded[p.Name+" "+p.Arch] = true
		if p.old != nil {
			upgraded[p.old.info.Name+" "+p.old.arch] = true
		}
		all = append(all, stanza{p.Name, p.Arch, b.stanza(p).Append(nil)})
	}
	for _, s := range b.status.Stanzas {
		name, arch := s.Get("Package"), s.Get("Architecture")
		if upgraded[name+" "+arch] {
			continue
		}
		all = append(all, stanza{name, arch, s.Append(nil)})
	}
	slices.SortStableFunc(all, func(x, y stanza) int {
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return strings.Compare(x.arch, y.arch)
	})
	var out []byte
	for _, s := range all {
		out = append(append(out, s.text...), '\n')
	}
	return out
}

// stanza is a package's in the status: the whole control file, since apt takes an installed package whose stanza differs
// from the archive's for another version.
func (b *builder) stanza(p *pkg) deb.Stanza {
	s := p.control.Clone()
	s.Set("Status", "install ok installed")
	if c := b.conffilesField(p); c != "" {
		s.Set("Conffiles", c)
	} else {
		s.Delete("Conffiles")
	}
	rank := func(f deb.Field) int {
		i := slices.IndexFunc(statusFields, func(n string) bool { return strings.EqualFold(n, f.Name) })
		if i < 0 {
			return len(statusFields)
		}
		return i
	}
	slices.SortStableFunc(s, func(x, y deb.Field) int { return rank(x) - rank(y) })
	return s
}

// conffilesField lists the configuration files with the sums that they came with.
func (b *builder) conffilesField(p *pkg) string {
	var lines strings.Builder
	listed := make(map[string]bool)
	for _, c := range p.conffiles {
		listed[c.name] = true
		e, ok := p.entry(c.name)
		switch {
		case c.remove:
			fmt.Fprintf(&lines, "\n %s newconffile remove-on-upgrade", c.name)
		case ok && e.MD5 != "":
			fmt.Fprintf(&lines, "\n %s %s", c.name, e.MD5)
		default:
			fmt.Fprintf(&lines, "\n %s newconffile", c.name)
		}
	}
	if p.old != nil {
		for _, r := range p.old.conffiles() {
			at, err := b.canonical(strings.TrimPrefix(r.name, "/"))
			if _, there := b.look(at); listed[r.name] || err != nil || !there {
				continue
			}
			fmt.Fprintf(&lines, "\n %s %s obsolete", r.name, r.md5)
		}
	}
	return lines.String()
}

// info writes a package's files in dpkg's database.
func (b *builder) info(p *pkg) error {
	if p.old != nil {
		for at := range b.base.Files {
			dir, file := path.Split(at)
			if dir != infoDir || !strings.HasPrefix(file, p.oldKey+".") {
				continue
			}
			member := strings.TrimPrefix(file, p.oldKey+".")
			if p.oldKey == p.key && (member == "list" || p.content.Member(member) != nil) || strings.Contains(member, ".") {
				continue
			}
			if err := b.whiteout(at, p.String()); err != nil {
				return err
			}
		}
	}
	files := []struct {
		name    string
		mode    uint32
		content []byte
	}{{"list", 0o644, listFile(p.list)}}
	for _, m := range p.content.Members {
		if m.Name != "list" {
			files = append(files, struct {
				name    string
				mode    uint32
				content []byte
			}{m.Name, m.Mode, m.Data})
		}
	}
	if p.content.Member("md5sums") == nil {
		files = append(files, struct {
			name    string
			mode    uint32
			content []byte
		}{"md5sums", 0o644, b.sums(p)})
	}
	for _, f := range files {
		at := infoDir + p.key + "." + f.name
		err := b.tree.Replace(fstree.Entry{Path: at, Kind: fstree.File, Mode: f.mode, Content: fstree.Bytes(f.content), Producer: p.String()})
		if err != nil {
			return err
		}
	}
	return nil
}

// sums is what dpkg writes for a package that brings no checksums: those of the files that it has unpacked.
func (b *builder) sums(p *pkg) []byte {
	var out []byte
	for _, e := range p.content.Entries {
		if e.MD5 != "" && !skipped(b.rules, e) {
			out = fmt.Appendf(out, "%s  %s\n", e.MD5, e.Path())
		}
	}
	return out
}

// triggers notes which packages want to be told of what (deb-triggers(5)).
func (b *builder) triggers() error {
	changed := make(map[string][]string)
	lines := func(file string) []string {
		if l, ok := changed[file]; ok {
			return l
		}
		return strings.FieldsFunc(string(b.dpkg.Files[triggerDir+file]), func(r rune) bool { return r == '\n' })
	}
	for _, p := range b.pkgs {
		if p.old != nil {
			b.forget(p.oldKey, lines, changed)
		}
		for line := range strings.SplitSeq(string(p.content.Member("triggers")), "\n") {
			line, _, _ = strings.Cut(line, "#")
			f := strings.Fields(line)
			if len(f) != 2 || !strings.HasPrefix(f[0], "interest") {
				continue
			}
			options := ""
			if strings.HasSuffix(f[0], "-noawait") {
				options = "/noawait"
			}
			if strings.HasPrefix(f[1], "/") {
				changed["File"] = append(lines("File"), f[1]+" "+p.key+options)
				continue
			}
			if f[1] == "." || f[1] == ".." || strings.ContainsAny(f[1], "/\x00") {
				return fmt.Errorf("reading triggers of %s: %.60q is no trigger's name", p, f[1])
			}
			changed[f[1]] = append(lines(f[1]), p.key+options)
		}
	}
	for _, file := range slices.Sorted(mapKeys(changed)) {
		content := listFile(changed[file])
		if len(changed[file]) == 0 {
			content = nil
		}
		if err := b.file(triggerDir+file, 0o644, content); err != nil {
			return err
		}
	}
	return nil
}

// forget takes what a package was interested in before its upgrade out of the lists.
func (b *builder) forget(key string, lines func(string) []string, changed map[string][]string) {
	for at := range b.dpkg.Files {
		dir, file := path.Split(at)
		if dir != triggerDir || file == "Unincorp" || file == "Lock" {
			continue
		}
		before := lines(file)
		after := slices.DeleteFunc(slices.Clone(before), func(l string) bool {
			who := l
			if file == "File" {
				who = l[strings.LastIndexByte(l, ' ')+1:]
			}
			return who == key || strings.HasPrefix(who, key+"/")
		})
		if len(after) != len(before) {
			changed[file] = after
		}
	}
}

// statusD is the database of images without dpkg, such as distroless': the control file of each package in a file of its
// own, and its checksums beside it.
func (b *builder) statusD() error {
	for _, p := range b.pkgs {
		at := "var/lib/dpkg/status.d/" + p.Name
		if p.old != nil {
			// Whatever the old file is called: distroless shortens some names.
			for old, data := range b.dpkg.Under("var/lib/dpkg/status.d") {
				if s, err := deb.ParseStanzas(data); err == nil && len(s) == 1 && s[0].Get("Package") == p.Name {
					at = "var/lib/dpkg/status.d/" + old
				}
			}
		}
		if err := b.file(at, 0o644, p.content.Control); err != nil {
			return err
		}
		sums := p.content.Member("md5sums")
		if sums == nil {
			sums = b.sums(p)
		}
		if err := b.file(at+".md5sums", 0o644, sums); err != nil {
			return err
		}
	}
	return nil
}
