package deb

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Status is dpkg's database of packages: every stanza of /var/lib/dpkg/status, those of removed packages among them.
type Status struct{ Stanzas []Stanza }

// ParseStatus reads /var/lib/dpkg/status (deb822(5), dpkg-query(1)).
func ParseStatus(data []byte) (Status, error) {
	stanzas, err := ParseStanzas(data)
	if err != nil {
		return Status{}, err
	}
	for _, s := range stanzas {
		if s.Get("Package") == "" {
			return Status{}, errNoName
		}
	}
	return Status{stanzas}, nil
}

// ParseStatusD reads the files of /var/lib/dpkg/status.d, which distroless images have in place of a status file: each is
// a package's control, without a field Status; files for checksums (*.md5sums) lie beside them. files is by name.
func ParseStatusD(files map[string][]byte) (Status, error) {
	var all Status
	for _, name := range sortedKeys(files) {
		if strings.HasSuffix(name, ".md5sums") {
			continue
		}
		stanzas, err := ParseStanzas(files[name])
		if err != nil {
			return Status{}, fmt.Errorf("%s: %w", name, err)
		}
		for _, s := range stanzas {
			if s.Get("Package") == "" {
				return Status{}, fmt.Errorf("%s: %w", name, errNoName)
			}
			if _, ok := s.Lookup("Status"); !ok {
				s = append(s, Field{"Status", "install ok installed"})
			}
			all.Stanzas = append(all.Stanzas, s)
		}
	}
	return all, nil
}

// Installed says whether a stanza of the status is of a package that is there, whole.
func (s Stanza) Installed() bool {
	state := strings.Fields(s.Get("Status"))
	return len(state) == 3 && (state[2] == "installed" || state[2] == "triggers-pending" || state[2] == "triggers-awaited")
}

// Packages gives the installed packages, in the file's order.
func (s Status) Packages() ([]*Package, error) {
	var all []*Package
	for _, st := range s.Stanzas {
		if !st.Installed() {
			continue
		}
		p, err := PackageOf(st)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Find gives the stanza of an installed package; the architecture "" stands for any.
func (s Status) Find(name, arch string) (Stanza, bool) {
	for _, st := range s.Stanzas {
		if st.Get("Package") == name && (arch == "" || st.Get("Architecture") == arch) && st.Installed() {
			return st, true
		}
	}
	return nil, false
}

// InstalledDigest stands for what is installed: packages at their versions, whatever their order. It is "sha256:…".
func InstalledDigest(all []*Package) string {
	lines := make([]string, 0, len(all))
	for _, p := range all {
		lines = append(lines, p.Name+" "+string(p.Version)+" "+p.Arch+"\n")
	}
	slices.Sort(lines)
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(strings.Join(lines, ""))))
}
