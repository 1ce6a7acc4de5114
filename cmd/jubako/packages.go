package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// installed is a package that an image holds.
type installed struct {
	Kind    string `json:"kind"` // "python" or "debian"
	Name    string `json:"name"`
	Version string `json:"version"`
	Where   string `json:"where"` // the folder of a Python package; "" for Debian's
}

// The bounds of what is read of an image for its packages, in bytes: dpkg's status, and one line of it.
const (
	maxStatus = 64 << 20
	maxLine   = 1 << 20
)

// packagesOf reads an image's layers, and lists the packages that their files tell of: *.dist-info folders, and dpkg's
// status.
func packagesOf(ctx context.Context, img *base.Image) ([]installed, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	found := make(map[string]installed) // by path
	for _, l := range layers {
		if err := base.ReadTar(ctx, l, func(r io.Reader) error { return readPackages(r, found) }); err != nil {
			digest, _ := l.Digest()
			return nil, hint.Check(fmt.Errorf("reading the layer %s: %w", digest, err))
		}
	}
	all := slices.Collect(maps.Values(found))
	slices.SortFunc(all, func(a, b installed) int {
		return strings.Compare(a.Kind+"\n"+a.Name+"\n"+a.Where, b.Kind+"\n"+b.Name+"\n"+b.Where)
	})
	return all, nil
}

// readPackages adds what a layer holds, and takes out what it removes.
func readPackages(r io.Reader, found map[string]installed) error {
	for tr := tar.NewReader(bufio.NewReaderSize(r, 1<<20)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		dir, base := path.Split(name)
		if gone, ok := strings.CutPrefix(base, ".wh."); ok {
			remove(found, strings.TrimSuffix(dir, "/"), gone)
			continue
		}
		if p, ok := pythonPackage(name); ok {
			found[name] = p
		}
		if name == dpkgStatus {
			maps.DeleteFunc(found, func(p string, _ installed) bool { return strings.HasPrefix(p, name+"#") })
			if err := readStatus(io.LimitReader(tr, maxStatus), name, found); err != nil {
				return err
			}
		}
	}
}

// dpkgStatus is dpkg's database.
const dpkgStatus = "var/lib/dpkg/status"

// pythonPackage is the package that a file tells of: the METADATA of a *.dist-info folder.
func pythonPackage(name string) (installed, bool) {
	dir, base := path.Split(name)
	stem, ok := strings.CutSuffix(dir, ".dist-info/")
	if !ok || base != "METADATA" {
		return installed{}, false
	}
	project, version, _ := strings.Cut(path.Base(stem), "-")
	return installed{"python", pep508.Normalize(project), version, "/" + path.Dir(path.Dir(name))}, true
}

// remove takes out what lies at or below a path that a whiteout names; with ".wh..opq" all that lies in its folder (OCI
// image specification, "Whiteouts").
func remove(found map[string]installed, dir, gone string) {
	at := path.Join(dir, gone)
	if gone == ".wh..opq" {
		at = dir
	}
	maps.DeleteFunc(found, func(p string, _ installed) bool {
		file, _, _ := strings.Cut(p, "#")
		return file == at || strings.HasPrefix(file, at+"/")
	})
}

// readStatus reads dpkg's database: stanzas of fields, of which each package has one.
func readStatus(r io.Reader, at string, found map[string]installed) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	fields := make(map[string]string)
	flush := func() {
		if name := fields["Package"]; name != "" && strings.HasSuffix(fields["Status"], " installed") {
			found[at+"#"+name+":"+fields["Architecture"]] = installed{"debian", name, fields["Version"], ""}
		}
		clear(fields)
	}
	for in.Scan() {
		line := in.Text()
		if line == "" {
			flush()
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' {
			fields[name] = strings.TrimSpace(value)
		}
	}
	flush()
	return in.Err()
}
