package wheel

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// maxRecord bounds RECORD in bytes.
const maxRecord = 64 << 20

// InstallOptions say what a wheel alone does not.
type InstallOptions struct {
	// DirectURL is set for a package that is not from an index (PEP 610).
	DirectURL *DirectURL
	// Installer is what INSTALLER holds; "uv" where it is "".
	Installer string
}

// Producer is how a conflict calls the wheel of a package: "wheel fastapi 0.115.0".
func Producer(f Filename) string { return "wheel " + f.Name + " " + f.Version }

// Install adds to the tree what uv writes when it installs the wheel into the environment (Python packaging
// specifications, "Binary distribution format", "Installing a wheel"), and nothing of the environment itself. Contents
// stay in the wheel; only metadata and scripts are read.
//
// Where uv would let a wheel overwrite its own environment, it is refused. A path that another producer has in the tree
// is a *fstree.ConflictError; what the wheel has twice, as a file and in its .data folder, is taken from the latter.
func Install(tree *fstree.Tree, src Source, v Venv, o InstallOptions) error {
	f := src.Filename()
	in := installation{
		src: src, files: src.Files(), venv: v, options: o,
		place:   placer{tree: tree, venv: v, producer: Producer(f)},
		renamed: make(map[string]string),
	}
	if err := in.run(); err != nil {
		return fmt.Errorf("installing %s: %w", f.Raw, err)
	}
	return nil
}

type installation struct {
	src     Source
	files   []File
	venv    Venv
	options InstallOptions
	place   placer

	info    string            // the .dist-info folder
	data    string            // the .data folder, whether or not there is one
	scripts []Script          // of entry_points.txt
	rows    []Row             // of the installed RECORD, but for its own
	renamed map[string]string // path in the wheel → path in RECORD of what moved; "" for what was left out
	written []Row             // of files whose bytes are not the wheel's
}

func (in *installation) run() error {
	if err := in.venv.check(); err != nil {
		return err
	}
	for _, step := range []func() error{in.readInfo, in.placeFiles, in.placeScripts, in.placeData, in.writeInfo} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// readInfo finds the .dist-info folder, and checks and reads what it holds.
func (in *installation) readInfo() error {
	for _, f := range in.files {
		top, _, below := strings.Cut(f.Path, "/")
		if !strings.HasSuffix(top, ".dist-info") || !below && !f.Dir || top == in.info {
			continue
		}
		if in.info != "" {
			return fmt.Errorf("it has two .dist-info folders, %q and %q", in.info, top)
		}
		in.info = top
	}
	if in.info == "" {
		return errors.New("it has no .dist-info folder")
	}
	in.data = strings.TrimSuffix(in.info, ".dist-info") + ".data"

	for _, file := range []struct {
		name  string
		check func(Headers) error
	}{
		{"WHEEL", checkWheel},
		{"METADATA", func(h Headers) error { return checkMetadata(h, in.src.Filename()) }},
	} {
		name := in.info + "/" + file.name
		h, err := in.headers(name)
		if err == nil {
			err = file.check(h)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	record, err := in.read(in.info+"/RECORD", maxRecord)
	if err != nil {
		return err
	}
	rows, err := ParseRecord(record)
	if err != nil {
		return fmt.Errorf("reading %s/RECORD: %w", in.info, err)
	}
	in.rows = healRecord(rows, in.files, in.info+"/RECORD")

	if _, ok := in.find(in.info + "/entry_points.txt"); !ok {
		return nil
	}
	points, err := in.read(in.info+"/entry_points.txt", maxEntryPoints)
	if err != nil {
		return err
	}
	scripts, err := ParseEntryPoints(points)
	if err != nil {
		return fmt.Errorf("reading %s/entry_points.txt: %w", in.info, err)
	}
	in.scripts = pipScripts(scripts, in.venv.Python)
	return nil
}

func (in *installation) find(name string) (File, bool) {
	i, ok := slices.BinarySearchFunc(in.files, name, func(f File, name string) int { return strings.Compare(f.Path, name) })
	if !ok || in.files[i].Dir {
		return File{}, false
	}
	return in.files[i], true
}

// read reads a file of metadata whole.
func (in *installation) read(name string, limit int64) ([]byte, error) {
	f, ok := in.find(name)
	if !ok {
		return nil, fmt.Errorf("it has no %s", name)
	}
	if f.Content.Size() > limit {
		return nil, fmt.Errorf("its %s has %d bytes, and at most %d are allowed", name, f.Content.Size(), limit)
	}
	r, err := f.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	b, err := io.ReadAll(r)
	if err := cmp.Or(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return b, nil
}

// headers reads the header part of METADATA or WHEEL.
func (in *installation) headers(name string) (Headers, error) {
	f, ok := in.find(name)
	if !ok {
		return nil, errors.New("it is not there")
	}
	r, err := f.Content.Open()
	if err != nil {
		return nil, err
	}
	h, err := ParseHeaders(r)
	return h, cmp.Or(err, r.Close())
}

// placeFiles puts everything but the .data folder into site-packages.
func (in *installation) placeFiles() error {
	site := in.venv.sitePackages()
	if err := in.place.dir(site); err != nil {
		return err
	}
	for _, f := range in.files {
		if f.Path == in.data || strings.HasPrefix(f.Path, in.data+"/") {
			continue
		}
		if err := in.put(site+"/"+f.Path, f, f.Executable); err != nil {
			return err
		}
	}
	return nil
}

// put places a file or folder of the wheel at a path below the environment, unless the environment needs that place for
// itself.
func (in *installation) put(to string, f File, executable bool) error {
	if in.venv.protected(to, f.Dir) {
		return in.hostile(fmt.Errorf("%s would overwrite %s of the virtual environment", f.Path, to))
	}
	if f.Dir {
		return in.place.dir(to)
	}
	if dir, name := path.Split(to); dir == "bin/" && isReservedScript(name) {
		return in.hostile(fmt.Errorf("%s would overwrite an interpreter of the virtual environment", f.Path))
	}
	return in.place.file(to, executable, f.Content)
}

func (in *installation) hostile(err error) error {
	return hint.Wrap(err, "the wheel is damaged or hostile: pin another version of %s, or leave it out with --no-install-package %[1]s", in.src.Filename().Name)
}

// placeScripts writes the launchers of the entry points.
func (in *installation) placeScripts() error {
	for _, s := range in.scripts {
		if err := checkScriptName(s.Name); err != nil {
			return in.hostile(fmt.Errorf("reading %s/entry_points.txt: %w", in.info, err))
		}
		text := fstree.Bytes(launcher(s, in.venv.Executable()))
		if err := in.put("bin/"+s.Name, File{Path: "the script " + s.Name, Content: text}, true); err != nil {
			return err
		}
		row, err := rowOf(in.recordPath("bin/"+s.Name), text)
		if err != nil {
			return err
		}
		in.written = append(in.written, row)
	}
	return nil
}

// recordPath is how RECORD, which speaks of site-packages, calls a path below the environment.
func (in *installation) recordPath(p string) string {
	site := in.venv.sitePackages()
	if below, ok := strings.CutPrefix(p, site+"/"); ok {
		return below
	}
	return strings.Repeat("../", strings.Count(site, "/")+1) + p
}

// placeData spreads the .data folder over the environment.
func (in *installation) placeData() error {
	roots := map[string]string{
		"purelib": in.venv.sitePackages(), "platlib": in.venv.sitePackages(), "scripts": "bin", "data": "",
		"headers": "include/site/python" + in.venv.Python + "/" + pep508.Normalize(in.src.Filename().Name),
	}
	for _, f := range in.files {
		below, ok := strings.CutPrefix(f.Path, in.data+"/")
		if !ok {
			continue
		}
		kind, name, _ := strings.Cut(below, "/")
		root, ok := roots[kind]
		if !ok || name == "" && !f.Dir {
			return fmt.Errorf("%s is not of a kind that an installer knows", f.Path)
		}
		if kind == "scripts" {
			if name == "" {
				continue
			}
			if err := in.placeScript(f, name); err != nil {
				return err
			}
			continue
		}
		to := path.Join(root, name)
		in.renamed[f.Path] = in.recordPath(to)
		in.written = slices.DeleteFunc(in.written, func(r Row) bool { return r.Path == in.recordPath(to) })
		if rest, ok := strings.CutPrefix(to, "lib64/"); ok {
			to = "lib/" + rest // where the link leads; RECORD keeps the spelling
		} else if to == "lib64" && f.Dir {
			to = "lib"
		}
		if err := in.put(to, f, f.Executable); err != nil {
			return err
		}
	}
	return nil
}

// placeScript places a file of .data/scripts: always executable, with the environment's Python in its first line where
// it asks for one, and not at all where an entry point gives the same script.
func (in *installation) placeScript(f File, name string) error {
	if f.Dir || strings.Contains(name, "/") {
		return fmt.Errorf("%s: only files may lie among the scripts", f.Path)
	}
	stem := name
	for _, suffix := range []string{".exe", "-script.py", ".pya"} {
		if s, ok := strings.CutSuffix(name, suffix); ok {
			stem = s
			break
		}
	}
	if slices.ContainsFunc(in.scripts, func(s Script) bool { return s.Name == stem }) {
		in.renamed[f.Path] = ""
		return nil
	}
	content, rewritten, err := rewriteScript(f.Content, in.venv.Executable())
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.Path, err)
	}
	f.Content = content
	if err := in.put("bin/"+name, f, true); err != nil {
		return err
	}
	to := in.recordPath("bin/" + name)
	in.renamed[f.Path] = to
	if rewritten {
		row, err := rowOf(to, content)
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.Path, err)
		}
		in.written = append(in.written, row)
	}
	return nil
}

// writeInfo writes the installer's own files into .dist-info, and RECORD, last of all.
func (in *installation) writeInfo() error {
	own := []struct {
		name    string
		content []byte
	}{
		{"INSTALLER", []byte(cmp.Or(in.options.Installer, "uv"))},
		{"REQUESTED", nil},
	}
	if d := in.options.DirectURL; d != nil {
		text, err := d.JSON()
		if err != nil {
			return err
		}
		own = append(own, struct {
			name    string
			content []byte
		}{"direct_url.json", text})
	}
	for _, f := range own {
		name, content := in.info+"/"+f.name, fstree.Bytes(f.content)
		if err := in.place.file(in.venv.sitePackages()+"/"+name, false, content); err != nil {
			return err
		}
		row, err := rowOf(name, content)
		if err != nil {
			return err
		}
		in.written = append(in.written, row)
	}
	record := in.info + "/RECORD"
	old, _ := in.find(record) // readInfo has read it
	text := fstree.Bytes(FormatRecord(in.finalRows(record)))
	return in.place.file(in.venv.sitePackages()+"/"+record, old.Executable, text)
}

// finalRows are the rows of the installed RECORD: the wheel's own under their new names, with those of files written
// here in their place, and one row a file.
func (in *installation) finalRows(record string) []Row {
	written := make(map[string]bool, len(in.written)+1)
	rows := append([]Row{{Path: record}}, in.written...)
	for _, r := range rows {
		written[path.Clean(r.Path)] = true
	}
	// What .data puts in the place of another file of the wheel has the last word, and so its row.
	fromData := make(map[string]bool)
	for _, to := range in.renamed {
		fromData[to] = true
	}
	for _, r := range in.rows {
		clean := path.Clean(r.Path)
		to, moved := in.renamed[clean]
		switch {
		case moved && to == "", !moved && fromData[clean]:
			continue
		case moved:
			r.Path, clean = to, to
		}
		if written[clean] {
			continue
		}
		written[clean] = true
		rows = append(rows, r)
	}
	return rows
}
