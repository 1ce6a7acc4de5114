//go:build oracle

package oracle

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// node is a path of an environment.
type node struct {
	kind rune // 'd', 'f' or 'l'
	mode fs.FileMode
	link string
	sum  string
	text string // the start of a file
}

func (n node) String() string {
	switch n.kind {
	case 'l':
		return "link to " + n.link
	case 'd':
		return fmt.Sprintf("folder %04o", n.mode)
	}
	return fmt.Sprintf("file %04o %s", n.mode, n.sum[:12])
}

const maxShown = 64 << 10

func fileNode(mode fs.FileMode, r io.Reader) (node, error) {
	h := sha256.New()
	var head strings.Builder
	if _, err := io.CopyN(io.MultiWriter(h, &head), r, maxShown); err != nil && !errors.Is(err, io.EOF) {
		return node{}, err
	}
	if _, err := io.Copy(h, r); err != nil {
		return node{}, err
	}
	return node{kind: 'f', mode: mode.Perm(), sum: hex.EncodeToString(h.Sum(nil)), text: head.String()}, nil
}

// treeOf reads an environment from disk.
func treeOf(t testing.TB, dir string) map[string]node {
	t.Helper()
	all := make(map[string]node)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			all[rel] = node{kind: 'd', mode: fi.Mode().Perm()}
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			all[rel] = node{kind: 'l', link: to}
			return err
		default:
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			all[rel], err = fileNode(fi.Mode(), f)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// imageTree reads what an image in a layout has below a folder, and writes it there on disk where to is set.
func imageTree(t testing.TB, dir, below, to string) map[string]node {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]node)
	for _, l := range ls {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(bufio.NewReaderSize(r, 1<<20)); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			rel, ok := strings.CutPrefix(path.Clean(h.Name), below+"/")
			if !ok {
				continue
			}
			if all[rel], err = take(h, tr, rel, to); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func take(h *tar.Header, r io.Reader, rel, to string) (node, error) {
	at := filepath.Join(to, rel)
	switch h.Typeflag {
	case tar.TypeDir:
		if to != "" {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return node{}, err
			}
		}
		return node{kind: 'd', mode: h.FileInfo().Mode().Perm()}, nil
	case tar.TypeSymlink:
		if to != "" {
			if err := os.Symlink(h.Linkname, at); err != nil {
				return node{}, err
			}
		}
		return node{kind: 'l', link: h.Linkname}, nil
	case tar.TypeReg:
		if to == "" {
			return fileNode(h.FileInfo().Mode(), r)
		}
		f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, h.FileInfo().Mode().Perm())
		if err != nil {
			return node{}, err
		}
		n, err := fileNode(h.FileInfo().Mode(), io.TeeReader(r, f))
		return n, errors.Join(err, f.Close())
	}
	return node{}, fmt.Errorf("%s is of the type %c", h.Name, h.Typeflag)
}

// difference is a line of differences.txt.
type difference struct {
	pattern *regexp.Regexp // of "PATH", or of "CASE:PATH"
	fields  bool           // what the files say is the same, byte for byte they are not
	used    atomic.Int32
}

// differences reads differences.txt.
func differences(t testing.TB) []*difference {
	t.Helper()
	b, err := os.ReadFile("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*difference
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, "\t")
		if len(parts) != 3 || parts[2] == "" || parts[1] != "left out" && parts[1] != "by fields" {
			t.Fatalf("differences.txt: %q is no pattern, how it is compared, and a reason", line)
		}
		all = append(all, &difference{pattern: regexp.MustCompile("^(?:" + parts[0] + ")$"), fields: parts[1] == "by fields"})
	}
	return all
}

// explained says whether differences.txt explains how a path differs.
func explained(all []*difference, name, p string, a, b node) bool {
	for _, d := range all {
		if !d.pattern.MatchString(p) && !d.pattern.MatchString(name+":"+p) {
			continue
		}
		if d.fields && (a.kind != b.kind || a.mode != b.mode || !slices.Equal(fields(p, a.text), fields(p, b.text))) {
			continue
		}
		d.used.Add(1)
		return true
	}
	return false
}

// diffTrees compares two environments path by path, and prints each difference. The row of a file that is explained is
// explained too, in the RECORD that lists it.
func diffTrees(theirs, ours map[string]node, explained func(p string, a, b node) bool) []string {
	var out []string
	var known, records []string
	for _, p := range slices.Sorted(maps.Keys(union(theirs, ours))) {
		a, inA := theirs[p]
		b, inB := ours[p]
		if inA == inB && a == b {
			continue
		}
		if explained(p, a, b) {
			known = append(known, "/"+p)
			continue
		}
		switch {
		case !inB:
			out = append(out, fmt.Sprintf("- %s: %s (uv alone)", p, a))
		case !inA:
			out = append(out, fmt.Sprintf("+ %s: %s (jubako alone)", p, b))
		case path.Base(p) == "RECORD" && a.kind == b.kind && a.mode == b.mode:
			records = append(records, p)
		default:
			out = append(out, fmt.Sprintf("- %s: %s", p, a), fmt.Sprintf("+ %s: %s", p, b))
			if lines := diffLines(a.text, b.text); a.kind == 'f' && b.kind == 'f' && len(lines) < 40 {
				out = append(out, lines...)
			}
		}
	}
	for _, p := range records {
		for _, row := range diffLines(theirs[p].text, ours[p].text) {
			of, _, _ := strings.Cut(row[2:], ",")
			for strings.HasPrefix(of, "../") {
				of = of[3:]
			}
			if !slices.ContainsFunc(known, func(p string) bool { return strings.HasSuffix(p, "/"+of) }) {
				out = append(out, fmt.Sprintf("%s: %s", p, row))
			}
		}
	}
	return out
}

// diffLines gives the lines that only one of two texts has, with its sign.
func diffLines(a, b string) []string {
	count := make(map[string]int)
	for line := range strings.Lines(b) {
		count[line]++
	}
	var out []string
	for line := range strings.Lines(a) {
		if count[line]--; count[line] < 0 {
			out = append(out, "- "+strings.TrimRight(line, "\r\n"))
			count[line] = 0
		}
	}
	for line := range strings.Lines(b) {
		if count[line] > 0 {
			out = append(out, "+ "+strings.TrimRight(line, "\r\n"))
			count[line]--
		}
	}
	return out
}
