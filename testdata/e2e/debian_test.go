//go:build e2e

package e2e

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers/debian"
	imagebase "github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// debianSets are what apt and jubako install, each over the same base with the very same packages.
var debianSets = map[string][]string{
	"curl": {"curl"},
	"app":  {"libpq5", "gettext", "libpango-1.0-0", "ffmpeg", "postgresql-client", "ghostscript", "imagemagick"},
}

// TestDebianLayerIsApts installs by apt in a chroot of the base, and by the debian layer over it, and compares the trees.
func TestDebianLayerIsApts(t *testing.T) {
	t.Parallel()
	for set, packages := range debianSets {
		t.Run(set, func(t *testing.T) {
			work := t.TempDir()
			root := filepath.Join(work, "base")
			unpackBase(t, root)
			debs := fetchDebs(t, work, root, set, packages)

			byApt := filepath.Join(work, "apt")
			command("cp", "-a", root, byApt).run(t)
			inChroot(t, byApt, debs, "apt-get install -y -q --no-install-recommends -o APT::Keep-Downloaded-Packages=true "+strings.Join(packages, " "))

			ours := filepath.Join(work, "jubako")
			command("cp", "-a", root, ours).run(t)
			layOver(t, ours, debs, packages)
			compareTrees(t, byApt, ours, filepath.Join("debian", "differences.txt"))

			inChroot(t, ours, debs, "dpkg --audit; test -z \"$(dpkg --audit)\"; apt-get check -q; apt-get install -y -q --no-install-recommends less; less --version >/dev/null; apt-get remove -y -q less; ldconfig -p >/dev/null")
			for _, p := range smoke[set] {
				inChroot(t, ours, debs, p)
			}
		})
	}
}

// smoke are programs of each set, which have to work.
var smoke = map[string][]string{
	"curl": {"curl --version", "/usr/local/bin/python3 -c 'import ctypes.util; assert ctypes.util.find_library(\"curl\")'"},
	"app": {"ffmpeg -version", "psql --version", "gs --version", "convert -size 8x8 xc:red /tmp/a.png && identify /tmp/a.png", "msgfmt --version",
		"/usr/local/bin/python3 -c 'import ctypes.util as u; assert u.find_library(\"pq\") and u.find_library(\"pango-1.0\") and u.find_library(\"blas\")'",
		"echo '%!PS\n/Times-Roman findfont 20 scalefont setfont 100 100 moveto (x) show showpage' | gs -q -sDEVICE=png16m -o /tmp/b.png - && identify /tmp/b.png"},
}

// unpackBase unpacks the base's layers as a root would.
func unpackBase(t *testing.T, root string) {
	t.Helper()
	img := openBase(t)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		untar(t, root, r)
		r.Close()
	}
	for _, d := range []string{"dev", "proc", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func openBase(t *testing.T) *imagebase.Image {
	t.Helper()
	src, err := imagebase.ParseSource(base(t))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := imagebase.Open(context.Background(), src, imagebase.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	img, err := opened.Image(context.Background(), v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// untar unpacks a layer, whiteouts applied.
func untar(t *testing.T, root string, r io.Reader) {
	t.Helper()
	type stamp struct {
		path string
		mode fs.FileMode
		time time.Time
	}
	var dirs []stamp
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean("/" + h.Name)
		at := filepath.Join(root, name)
		if gone, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
			if err := os.RemoveAll(filepath.Join(root, path.Dir(name), gone)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := h.FileInfo().Mode()
		if h.Typeflag != tar.TypeDir {
			if err := os.RemoveAll(at); err != nil {
				t.Fatal(err)
			}
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(at, 0o755)
			dirs = append(dirs, stamp{at, mode, h.ModTime})
		case tar.TypeReg:
			var f *os.File
			if f, err = os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
				_, err = io.Copy(f, tr)
				err = errors.Join(err, f.Close())
			}
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, at)
		case tar.TypeLink:
			err = os.Link(filepath.Join(root, path.Clean("/"+h.Linkname)), at)
		}
		if err == nil {
			err = os.Lchown(at, h.Uid, h.Gid)
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = os.Chmod(at, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range dirs {
		if err := os.Chmod(d.path, d.mode); err != nil {
			t.Fatal(err)
		}
	}
}

// inChroot runs a command as a container would, with the packages and apt's lists at hand.
func inChroot(t *testing.T, root, debs, script string) {
	t.Helper()
	prepare := `set -e
mount --bind /dev "$1/dev"; mount -t proc proc "$1/proc"
mkdir -p "$1/var/cache/apt/archives/partial" "$1/var/lib/apt/lists"
mount -t tmpfs tmpfs "$1/var/cache/apt/archives"; mkdir "$1/var/cache/apt/archives/partial"; cp "$2"/*.deb "$1/var/cache/apt/archives/"
[ ! -d "$2/lists" ] || mount --bind "$2/lists" "$1/var/lib/apt/lists"
mount -t tmpfs tmpfs "$1/tmp"; touch "$1/etc/resolv.conf"; mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
exec chroot "$1" /bin/sh -ec "$3"`
	c := command("unshare", "-m", "bash", "-c", prepare, "-", root, debs, script).with("DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")
	stdout, stderr, err := c.try(t)
	if err != nil {
		t.Fatalf("in the chroot: %s: %v\n%s%s", script, err, tail(stdout), tail(stderr))
	}
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// fetchDebs lets apt fetch the packages of a set, and its lists, into the cache; once for all runs.
func fetchDebs(t *testing.T, work, root, set string, packages []string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(strings.Join(packages, " ") + must(t, "E2E_BASE")))
	debs := filepath.Join(must(t, "E2E_CACHE"), "debs", set+"-"+hex.EncodeToString(sum[:4]))
	if _, err := os.Stat(debs); err == nil {
		return debs
	}
	fetch := filepath.Join(work, "fetch")
	command("cp", "-a", root, fetch).run(t)
	part := debs + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(part, "lists"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := `set -e; mount --bind /dev "$1/dev"; mount --bind /etc/resolv.conf "$1/etc/resolv.conf" 2>/dev/null || cp /etc/resolv.conf "$1/etc/resolv.conf"
rm -f "$1/etc/apt/apt.conf.d/docker-clean"; chroot "$1" apt-get update -q; chroot "$1" apt-get install -y -q -d --no-install-recommends ` + strings.Join(packages, " ") + `
cp -a "$1/var/cache/apt/archives/"*.deb "$2/"; cp -a "$1/var/lib/apt/lists/." "$2/lists/"`
	command("unshare", "-m", "bash", "-c", script, "-", fetch, part).with("DEBIAN_FRONTEND=noninteractive").run(t)
	if err := os.Rename(part, debs); err != nil {
		t.Fatal(err)
	}
	return debs
}

// layOver makes the debian layer of the packages in a folder, and unpacks it over a tree of the base.
func layOver(t *testing.T, root, debs string, requested []string) {
	t.Helper()
	ctx := context.Background()
	store, err := cas.Open(filepath.Join(must(t, "E2E_WORK"), "cache-debs"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	img := openBase(t)
	facts, err := img.Facts(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	dpkg, err := img.Dpkg(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	o := debian.Options{Facts: facts, Dpkg: dpkg, Arch: img.Platform.Architecture, Store: store, Requested: requested, Warn: func(s string) { t.Log(s) }}
	o.Packages = packagesIn(t, store, debs)
	for range 2 { // cold, and with all packages in the cache
		start := time.Now()
		l, err := debian.New(o)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := l.Tree(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.AddParents(facts.Parent); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "layer.tar.gz"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := tarlayer.Write(ctx, f, tree, tarlayer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, sha256:%s, %v", l.Summary(), res.Size, res.DiffID, time.Since(start))
		if err := errors.Join(f.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
		defer func(name string) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			untar(t, root, z)
		}(f.Name())
	}
}

// packagesIn reads which packages lie in a folder.
func packagesIn(t *testing.T, store *cas.Store, dir string) []debian.Package {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no packages in %s: %v", dir, err)
	}
	var all []debian.Package
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		open := func(context.Context) (io.ReadCloser, error) { return os.Open(f) }
		p := debian.Package{Filename: filepath.Base(f), SHA256: hex.EncodeToString(sum[:]), Open: open}
		scratch, err := cas.Open(filepath.Join(must(t, "E2E_WORK"), "cache-names"))
		if err != nil {
			t.Fatal(err)
		}
		content, err := debfile.Open(context.Background(), scratch, debfile.Source{Name: p.Filename, SHA256: p.SHA256, Open: open}, debfile.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		control, err := deb.ParseControl(content.Control)
		if err != nil {
			t.Fatal(err)
		}
		p.Name, p.Version, p.Arch = control.Get("Package"), control.Get("Version"), control.Get("Architecture")
		if err := errors.Join(content.Close(), scratch.Close()); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// compareTrees fails for every path that differs and is not in the list of differences.
func compareTrees(t *testing.T, want, got, golden string) {
	t.Helper()
	allowed := readDifferences(t, golden)
	a, b := describeTree(t, want), describeTree(t, got)
	var paths []string
	for p := range a {
		paths = append(paths, p)
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	n := 0
	for _, p := range paths {
		if a[p] == b[p] || slices.ContainsFunc(allowed, func(re *regexp.Regexp) bool { return re.MatchString(p) }) {
			continue
		}
		if n++; n <= 60 {
			t.Errorf("/%s\n  apt:    %s\n  jubako: %s", p, cmp.Or(a[p], "absent"), cmp.Or(b[p], "absent"))
		}
	}
	if n > 0 {
		t.Errorf("%d of %d paths differ", n, len(paths))
	}
}

// readDifferences reads patterns, one a line; what follows a tab is the reason.
func readDifferences(t *testing.T, file string) []*regexp.Regexp {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []*regexp.Regexp
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() == "" || s.Text()[0] == '#' {
			continue
		}
		pattern, reason, ok := strings.Cut(s.Text(), "\t")
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("%s: %q has no reason", file, s.Text())
		}
		all = append(all, regexp.MustCompile("^(?:"+strings.TrimSpace(pattern)+")$"))
	}
	return all
}

// describeTree says of every path what stands there: kind, mode, owner, and content or target; of a file with several
// names, all of them.
func describeTree(t *testing.T, root string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	names := make(map[uint64][]string)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%s %d:%d", fi.Mode(), st.Uid, st.Gid)
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + to
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if rel == "etc/ld.so.cache" { // the texts of the entries lie in another order
				list := command("ldconfig", "-p", "-C", p).run(t)
				_, list, _ = strings.Cut(list, "\n")
				b = append([]byte(list), b[max(0, len(b)-64):]...)
			}
			if rel == "var/lib/dpkg/triggers/File" { // dpkg's order is that in which it configured the packages
				lines := strings.Split(string(b), "\n")
				slices.Sort(lines)
				b = []byte(strings.Join(lines, "\n"))
			}
			sum := sha256.Sum256(b)
			text += fmt.Sprintf(" %d bytes %s", len(b), hex.EncodeToString(sum[:8]))
			if st.Nlink > 1 {
				names[st.Ino] = append(names[st.Ino], rel)
			}
		}
		tree[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, links := range names {
		for _, l := range links {
			tree[l] += " = " + strings.Join(links, " = ")
		}
	}
	return tree
}

// baseChecks are what the README promises of a base made of packages; they run in Docker.
const baseChecks = `
import asyncio, bz2, ctypes.util, curses, locale, lzma, os, pwd, readline, socket, sqlite3, ssl, sys, uuid, zoneinfo
assert len(ssl.create_default_context().get_ca_certs()) > 100
assert locale.setlocale(locale.LC_ALL, "") == "C.UTF-8", locale.setlocale(locale.LC_ALL)
assert zoneinfo.ZoneInfo("Europe/Berlin") and socket.getservbyname("http") == 80
assert ctypes.util.find_library("ssl") and pwd.getpwuid(65534).pw_name == "nobody"
assert os.stat("/tmp").st_mode & 0o7777 == 0o1777 and not os.path.exists("/bin/sh")
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
print(sys.version_info[0])
`

// TestDebianBase builds the sample project on a base of packages alone, and lets Docker run it.
func TestDebianBase(t *testing.T) {
	dir := project(t)
	tag := "jubako.test/scratch:1"
	file := filepath.Join(t.TempDir(), "image.tar")
	jubako(t, "build", "--base", "debian:trixie", "-t", tag, "--format", "docker", "-o", "docker-archive:"+file, dir).run(t)
	again := filepath.Join(t.TempDir(), "image.tar")
	jubako(t, "build", "--base", "debian:trixie", "-t", tag, "--format", "docker", "-o", "docker-archive:"+again, "--no-cache", dir).run(t)
	command("cmp", file, again).run(t)
	docker("load", "-q", "-i", file).run(t)
	if got := docker("run", "--rm", "--entrypoint", "python3", tag, "-c", baseChecks).run(t); got != "3" {
		t.Errorf("the checks say %q", got)
	}
	container, url := serve(t, tag)
	answers(t, container, url+"/health/", `"status": "ok"`)
	t.Logf("%s", docker("image", "ls", tag, "--format", "{{.Size}}").run(t))
}
