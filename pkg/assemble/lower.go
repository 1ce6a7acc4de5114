package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/layers/app"
	"github.com/jubako/jubako/layers/passwd"
	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/rootfs"
	"github.com/jubako/jubako/pkg/source"
	"github.com/jubako/jubako/pkg/tarlayer"
)

// lower is an image without the layers that commands make: what a command runs in.
type lower struct {
	image  *base.Image
	facts  *base.Facts // of the base, and of the Debian packages on it
	user   accounts.User
	layout project.Layout
	maker  *maker
	made   []madeLayer
	source *app.Layer // what of made is the project's own files
	// commanded is made and the layers of commands upon it, once they are made.
	commanded []madeLayer

	observedOnce sync.Once
	observedTree *observed.Tree // source, as commands see it
	observedErr  error

	librariesOnce sync.Once
	known         map[string]bool // the base's shared libraries
	librariesErr  error
}

// lower makes the layers of a platform that need no command, once.
func (b *builder) lower(ctx context.Context, p v1.Platform) (*lower, error) {
	if l, ok := b.lowers[p.String()]; ok {
		return l, nil
	}
	img, err := b.in.base.Image(ctx, p)
	if err != nil {
		return nil, err
	}
	facts, borrowed, err := b.factsOf(ctx, img)
	if err != nil {
		return nil, err
	}
	l, err := b.lowerOn(ctx, img, facts)
	if err != nil {
		own, lied := b.lied(ctx, img, borrowed, err)
		if !lied {
			return nil, err
		}
		b.warn(fmt.Sprintf("an earlier image says of the base %s what is not so: it was read anew", img.Source))
		if l, err = b.lowerOn(ctx, img, own); err != nil {
			return nil, err
		}
	}
	b.lowers[p.String()] = l
	b.lowers[l.image.Platform.String()] = l
	return l, nil
}

// lowerOn makes the layers upon a base of which these facts are known.
func (b *builder) lowerOn(ctx context.Context, img *base.Image, facts *base.Facts) (*lower, error) {
	l := &lower{image: img, facts: facts}
	if l.facts.Python.Path == "" {
		return nil, base.ErrNoPython(b.in.base.Source)
	}
	b.Report(Event{Kind: BaseIs, Name: b.baseLine(l), Text: fmt.Sprintf("%s  Python %s, %s", l.image.Platform, l.facts.Python.Version, l.facts.Libc)})
	deb, err := b.debian(ctx, l)
	if err != nil {
		return nil, err
	}
	if l.user, err = b.user(l.facts); err != nil {
		return nil, err
	}
	list, err := b.layersOf(ctx, l)
	if err != nil {
		return nil, err
	}
	if deb != nil {
		list = append([]layers.Layer{deb}, list...)
	}
	if l.maker, err = b.maker(ctx, l); err != nil {
		return nil, err
	}
	if b.ahead != nil {
		l.maker.beside = &beside{b.ahead, l}
	}
	l.made, err = l.maker.makeAll(ctx, list)
	return l, err
}

func (b *builder) baseLine(l *lower) string {
	const shown = 12
	name, _, _ := strings.Cut(b.in.baseName, "@")
	if b.in.base.Repository == nil {
		name = string(b.in.base.Source.Kind) + ":" + path.Base(b.in.base.Source.Path)
	}
	return name + "@sha256:" + b.in.base.Digest.Hex[:shown] + "…"
}

// user settles whom the service runs as.
func (b *builder) user(f *base.Facts) (accounts.User, error) {
	u := b.spec.Project.Config.User
	req, err := accounts.ParseRequest(u.Name)
	if err != nil {
		return accounts.User{}, hint.Usage(err)
	}
	if u.UID >= 0 {
		req.UID = u.UID
	}
	if u.GID >= 0 {
		req.GID = u.GID
	}
	return passwd.FilesOf(f).Resolve(req)
}

// owner is who owns the files below the working folder.
func (b *builder) owner(u accounts.User) (uid, gid int) {
	if b.spec.Project.Config.Owner == "root" {
		return 0, 0
	}
	return u.UID, u.GID
}

// maker prepares the making of blobs: what every layer of this base shares.
func (b *builder) maker(ctx context.Context, l *lower) (*maker, error) {
	c := b.spec.Project.Config
	uid, gid := b.owner(l.user)
	workdir := strings.TrimPrefix(c.Workdir, "/")
	parent := func(ctx context.Context, dir string) (fstree.Entry, error) {
		e, there, err := l.facts.ParentAt(ctx, dir)
		if !there && (dir == workdir || strings.HasPrefix(dir, workdir+"/")) {
			e.UID, e.GID = uid, gid
		}
		return e, err
	}
	var writable []string
	for _, w := range c.Writable {
		writable = append(writable, path.Join(workdir, w))
	}
	// A folder that the service writes to is the service's, as in the app layer, in every layer that has it, be it for the files below.
	written := func(e fstree.Entry) fstree.Entry {
		if e.Kind == fstree.Dir && slices.Contains(writable, e.Path) {
			e.Mode, e.UID, e.GID = 0o755, l.user.UID, l.user.GID
		}
		return e
	}
	// A blob depends on the base's directories that lead to its files, as far as they are known beforehand.
	var parents []fstree.Entry
	for _, p := range []string{workdir, path.Join(workdir, c.Venv), "etc"} {
		for ; p != "."; p = path.Dir(p) {
			e, err := parent(ctx, p)
			if err != nil {
				return nil, err
			}
			parents = append(parents, written(e))
		}
	}
	for _, dir := range writable { // only where that makes a difference: other projects keep their keys
		e, err := parent(ctx, dir)
		if err != nil {
			return nil, err
		}
		if own := written(e); own != e {
			parents = append(parents, own)
		}
	}
	return &maker{
		store: b.Store, epoch: b.spec.Epoch, jobs: b.spec.Jobs, parent: parent, writable: writable, service: written, context: parents, noCache: b.spec.NoCache, dry: b.dry,
		report: b.Report, now: b.Now, remote: b.remote, compression: b.spec.forms()[0], encoders: tarlayer.NewEncoders(b.spec.Jobs),
	}, nil
}

// layersOf describes the layers that need no command, lowest first.
func (b *builder) layersOf(ctx context.Context, l *lower) ([]layers.Layer, error) {
	var list []layers.Layer
	pw, err := passwd.New(l.facts, l.user, b.spec.Epoch)
	if err != nil {
		return nil, err
	}
	if !pw.Empty() {
		list = append(list, pw)
	}
	pk, err := b.packages(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := b.settle(ctx, l, pk.locked); err != nil {
		return nil, err
	}
	for _, v := range pk.venv {
		list = append(list, v)
	}
	if pk.project != nil {
		list = append(list, pk.project)
	}
	a, err := b.app(ctx, l)
	if err != nil {
		return nil, err
	}
	l.source = a
	return append(list, a), nil
}

// settle infers what the configuration leaves out, and says what is probably not meant. It does so once a build.
func (b *builder) settle(ctx context.Context, l *lower, locked map[string]bool) error {
	p := b.spec.Project
	fsys := os.DirFS(p.SourceDir())
	l.layout = p.Look(fsys, locked)
	said, err := p.Infer(l.layout, locked)
	if err != nil {
		return err
	}
	for _, i := range said {
		b.note("%s", i)
	}
	if len(b.lowers) > 0 {
		return nil
	}
	conf, err := imageconf.Parse(l.image.Config)
	if err != nil {
		return err
	}
	search := conf.Getenv("PATH")
	var unread error
	findings := p.Lint(project.LintInput{Source: fsys, Layout: l.layout, Locked: locked, Profile: b.spec.Profile, HasProgram: func(program string) bool {
		has, err := l.facts.Has(ctx, program, search)
		unread = errors.Join(unread, err)
		return has
	}})
	if unread != nil {
		return unread
	}
	for _, f := range findings {
		b.warn(f.String())
	}
	if b.spec.Strict && len(findings) > 0 {
		return hint.Check(fmt.Errorf("%d findings, and --strict makes them errors", len(findings)))
	}
	return nil
}

// walk says what of the source goes into the image.
func (b *builder) walk() source.Options {
	p := b.spec.Project
	c := p.Config
	exclude := append(c.Exclude[:len(c.Exclude):len(c.Exclude)], path.Clean(c.Venv))
	if out := c.Staticfiles.Output; out != "" && !path.IsAbs(out) && !c.Staticfiles.Off {
		exclude = append(exclude, path.Clean(out))
	}
	return source.Options{Root: p.SourceDir(), Ignorefile: filepath.Join(p.SourceDir(), ".dockerignore"), Exclude: exclude, Include: c.Include,
		Skip: b.secretsIn(p.SourceDir())} // whatever include says
}

// app describes the layer of the source and of what is copied in.
func (b *builder) app(ctx context.Context, l *lower) (*app.Layer, error) {
	p := b.spec.Project
	c := p.Config
	workdir := strings.TrimPrefix(c.Workdir, "/")
	src := b.begun.source.wait()
	if src.err != nil {
		return nil, src.err
	}
	uid, gid := b.owner(l.user)
	o := app.Options{Workdir: workdir, UID: uid, GID: gid, WriteUID: l.user.UID, WriteGID: l.user.GID}
	o.Parts = append(o.Parts, app.Part{Tree: src.tree, To: workdir, Name: "the source tree"})
	for _, cp := range c.Copy {
		part, err := b.copy(ctx, cp, workdir)
		if err != nil {
			return nil, err
		}
		o.Parts = append(o.Parts, part)
	}
	for _, w := range c.Writable {
		o.Writable = append(o.Writable, path.Join(workdir, w))
	}
	return app.New(ctx, o, b.Store, b.Now())
}

// copy reads what was made elsewhere.
func (b *builder) copy(ctx context.Context, cp project.Copy, workdir string) (app.Part, error) {
	if image, inside, ok := strings.Cut(cp.From, "#"); ok {
		return b.copyFromImage(ctx, cp, image, inside, workdir)
	}
	root := filepath.Join(b.spec.Project.Dir, filepath.FromSlash(cp.From))
	fi, err := os.Stat(root)
	if err != nil {
		return app.Part{}, hint.Wrap(hint.Usage(fmt.Errorf("[[tool.jubako.copy]] from = %q: %w", cp.From, err)), "make it before the build, or correct the path: it is relative to pyproject.toml")
	}
	secret := b.secretsIn(root)
	if secret(".") {
		return app.Part{}, hint.Wrap(hint.Usage(fmt.Errorf("[[tool.jubako.copy]] from = %q: it is the secret of a step, which no image holds", cp.From)), "leave one of the two out")
	}
	tree, err := source.Walk(ctx, source.Options{Root: root, NoStanding: true, Skip: secret})
	return app.Part{Tree: tree, To: path.Join(workdir, cp.To), File: !fi.IsDir(), Name: "copy from " + cp.From}, err
}

// copyFromImage takes files out of another image, such as a front end's. The image is unpacked into the cache.
func (b *builder) copyFromImage(ctx context.Context, cp project.Copy, image, inside, workdir string) (_ app.Part, err error) {
	fail := func(err error) (app.Part, error) {
		return app.Part{}, fmt.Errorf("[[tool.jubako.copy]] from = %q: %w", cp.From, err)
	}
	src, err := base.ParseSource(image)
	if err != nil {
		return fail(err)
	}
	opened, err := base.Open(ctx, src.In(b.spec.Project.Dir), base.Options{Client: b.Registry, Store: b.Store, Offline: b.spec.Offline})
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	want := v1.Platform{}
	if opened.IsIndex() && len(opened.Platforms()) > 1 {
		want = b.Host // the files are taken for what they are: none of them runs
	}
	img, err := opened.Image(ctx, want)
	if err != nil {
		return fail(err)
	}
	group, err := groupOf(img)
	if err != nil {
		return fail(err)
	}
	trees, err := rootfs.Unpack(ctx, b.Store, []rootfs.Group{group}, rootfs.Limits{})
	if err != nil {
		return fail(err)
	}
	at, err := rootfs.NewView(trees[0]).Resolve(inside) // no link of the image leads out of it
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.Usage(fmt.Errorf("the image has no %s", path.Clean("/"+inside)))
	}
	if err != nil {
		return fail(err)
	}
	tree, err := source.Walk(ctx, source.Options{Root: at.Real(), NoStanding: true})
	if err != nil {
		return fail(err)
	}
	return app.Part{Tree: tree, To: path.Join(workdir, cp.To), File: !at.Info.IsDir(), Name: "copy from " + cp.From}, nil
}

// repository is where a layer that a registry holds lies; nil for one that this machine holds.
func (m madeLayer) repository() *name.Repository {
	if m.from == nil {
		return nil
	}
	return m.from.repo
}
