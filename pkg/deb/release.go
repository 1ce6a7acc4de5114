package deb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Release is what an archive says of one suite.
type Release struct {
	Origin, Label, Suite, Codename, Version string
	Date, ValidUntil                        time.Time // ValidUntil is zero where it is not said
	Components, Architectures               []string
	ByHash                                  bool // files may be had by their hash
	// NotAutomatic keeps packages from being chosen unless they are asked for; with ButAutomaticUpgrades, installed ones
	// are upgraded all the same.
	NotAutomatic, ButAutomaticUpgrades bool
	Files                              map[string]File // by path below the suite's folder
}

// File is a file that a release names.
type File struct {
	Size   int64  // bytes
	SHA256 string // hex
}

// maxReleaseFiles bounds how many files a release names: trixie has about 2,000.
const maxReleaseFiles = 200_000

// ParseRelease reads the text of a Release file, whose signature has been verified by then.
func ParseRelease(text []byte) (*Release, error) {
	s, err := ParseControl(text)
	if err != nil {
		return nil, err
	}
	r := &Release{
		Origin: s.Get("Origin"), Label: s.Get("Label"), Suite: s.Get("Suite"), Codename: s.Get("Codename"), Version: s.Get("Version"),
		Components: strings.Fields(s.Get("Components")), Architectures: strings.Fields(s.Get("Architectures")),
		ByHash: yes(s.Get("Acquire-By-Hash")), NotAutomatic: yes(s.Get("NotAutomatic")), ButAutomaticUpgrades: yes(s.Get("ButAutomaticUpgrades")),
		Files: make(map[string]File),
	}
	if r.Date, err = parseDate(s.Get("Date")); err != nil {
		return nil, fmt.Errorf("its field Date: %w", err)
	}
	if until, ok := s.Lookup("Valid-Until"); ok {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, fmt.Errorf("its field Valid-Until: %w", err)
		}
	}
	for line := range strings.SplitSeq(s.Get("SHA256"), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("its field SHA256: %.80q names no file", line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 || !validSHA256(f[0]) {
			return nil, fmt.Errorf("its field SHA256: %.80q names no file", line)
		}
		if len(r.Files) == maxReleaseFiles {
			return nil, fmt.Errorf("it names more than %d files", maxReleaseFiles)
		}
		r.Files[f[2]] = File{size, f[0]}
	}
	if len(r.Files) == 0 {
		return nil, errors.New("it has no SHA256 of any file")
	}
	return r, nil
}

func validSHA256(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// parseDate reads the dates of a Release file, which are RFC 1123's in UTC.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC1123, "Mon, _2 Jan 2006 15:04:05 MST", time.RFC1123Z, "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is no date", s)
}

// ExpiredError says that a release is no longer valid.
type ExpiredError struct{ Until time.Time }

func (e *ExpiredError) Error() string {
	return "it has expired: it was valid until " + e.Until.Format(time.RFC3339)
}

// Check says whether the release is that of a suite, and of today. An old one is taken where it is pinned, by a snapshot.
func (r *Release) Check(suite string, now time.Time, pinned bool) error {
	// Security suites were once called after a folder: bookworm/updates.
	if suite != r.Suite && suite != r.Codename && !slices.Contains([]string{r.Suite + "/updates", r.Codename + "/updates"}, suite) {
		return fmt.Errorf("it is the release of %s (%s), and %s was asked for", r.Codename, r.Suite, suite)
	}
	if r.Date.After(now.Add(clockSkew)) {
		return fmt.Errorf("it is from the future: its date is %s", r.Date.Format(time.RFC3339))
	}
	if !pinned && !r.ValidUntil.IsZero() && r.ValidUntil.Before(now) {
		return &ExpiredError{r.ValidUntil}
	}
	return nil
}

// Index is where a release has the list of packages of a component for an architecture.
type Index struct {
	Path string // below the suite's folder, with the suffix of its compression
	File
	Plain File // of the list when it is uncompressed
}

// Index finds the list of packages, in the form that is read fastest. It is not there where the release lacks the
// component or the architecture.
func (r *Release) Index(component, arch string) (Index, bool, error) {
	// Security's release calls its component updates/main, and keeps it in main.
	at := strings.TrimPrefix(component, "updates/") + "/binary-" + arch + "/Packages"
	if _, ok := r.Files[at]; !ok {
		if _, other := r.Files[component+"/binary-"+arch+"/Packages"]; !other {
			if slices.Contains(r.Architectures, arch) && (slices.Contains(r.Components, component) || slices.Contains(r.Components, "updates/"+component)) {
				return Index{}, false, fmt.Errorf("it names no %s", at)
			}
			return Index{}, false, nil
		}
		at = component + "/binary-" + arch + "/Packages"
	}
	for _, suffix := range []string{".gz", ".xz", ""} {
		if f, ok := r.Files[at+suffix]; ok && CheckPath(at) == nil {
			return Index{at + suffix, f, r.Files[at]}, true, nil
		}
	}
	return Index{}, false, nil
}

// HashPath is the path of a file by its hash, which does not change while an archive is being renewed.
func (i Index) HashPath() string {
	return i.Path[:strings.LastIndexByte(i.Path, '/')+1] + "by-hash/SHA256/" + i.SHA256
}
