package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/debfile"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pins"
)

// again resolves a locked set over a base with other packages than it was locked for, out of the locked packages alone:
// no archive is asked. The set has to come out as it was locked.
func (b *builder) again(ctx context.Context, img *base.Image, set *debs, installed []*deb.Package) (*debs, error) {
	changed := func(why error) error {
		return hint.Wrap(hint.Check(fmt.Errorf("the packages of %s for %s are not those that %s was made for, and the locked Debian packages do not fit it: %w", img.Source, img.Platform, pins.Name, why)),
			"jubako lock --upgrade resolves them for this base")
	}
	all := set.Locked()
	if len(set.Over) > 0 {
		if c, ok := (b.in.pins.Debian).Closure(set.Platform, set.Over, nil); ok {
			all = append(all, c.Locked()...)
		}
	}
	lists, err := b.lockedLists(ctx, set, all)
	if err != nil {
		return nil, err
	}
	problem := deb.Problem{Universe: deb.NewUniverse(debArch(img.Platform), lists), Installed: installed, Exclude: b.excluded(img)}
	if len(set.Over) > 0 {
		below, err := answer(problem, versioned(set.Over, all))
		if err != nil {
			return nil, changed(err)
		}
		problem.Installed = below.Over(installed)
	}
	res, err := answer(problem, versioned(set.Request, all))
	if err != nil {
		return nil, changed(err)
	}
	fresh := *set
	fresh.Packages = pins.Packages(res.Lock())
	before := make(map[string]pins.Package)
	for _, p := range set.Packages {
		before[p.Name] = p
	}
	for i, p := range fresh.Packages {
		was, ok := before[p.Name]
		if !ok {
			return nil, changed(fmt.Errorf("%s is needed in addition", p.Name))
		}
		delete(before, p.Name)
		was.Why, was.Upgrades = p.Why, p.Upgrades
		fresh.Packages[i] = was
	}
	for _, p := range set.Packages {
		if _, left := before[p.Name]; left {
			return nil, changed(fmt.Errorf("%s is not needed", p.Name))
		}
	}
	return &fresh, nil
}

// versioned asks for what is locked where a request names a suite: the lock no longer knows all names of a suite.
func versioned(request []string, locked []deb.Locked) []string {
	out := make([]string, len(request))
	for i, text := range request {
		out[i] = text
		q, err := deb.ParseRequest(text)
		if err != nil || q.Suite == "" {
			continue
		}
		for _, l := range locked {
			if l.Name == q.Name {
				out[i] = l.String()
			}
		}
	}
	return out
}

// lockedLists reads the control files of locked packages.
func (b *builder) lockedLists(ctx context.Context, set *debs, locked []deb.Locked) ([]deb.List, error) {
	packages := make([]deb.Package, len(locked))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(b.spec.Jobs, 4))
	for i, l := range locked {
		g.Go(func() (err error) {
			packages[i], err = b.control(ctx, set, l)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	lists := make([]deb.List, len(set.Sources))
	for i, s := range set.Sources {
		lists[i] = deb.List{Source: i, Suites: []string{s.Suite}}
	}
	of := make([][]deb.Package, len(lists))
	for i, l := range locked {
		of[l.Source] = append(of[l.Source], packages[i])
	}
	for i := range lists {
		lists[i].Catalogues = []*deb.Catalogue{deb.CatalogueOf(of[i])}
	}
	return lists, nil
}

// control reads what a locked package says of itself, and compares it with the lock.
func (b *builder) control(ctx context.Context, set *debs, l deb.Locked) (_ deb.Package, err error) {
	src := debfile.Source{Name: path.Base(l.Path), SHA256: l.SHA256, Open: func(ctx context.Context) (io.ReadCloser, error) { return b.openDeb(ctx, set, l) }}
	f, err := debfile.Open(ctx, b.Store, src, debfile.Limits{})
	if err != nil {
		return deb.Package{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stanza, err := deb.ParseControl(f.Control)
	if err != nil {
		return deb.Package{}, fmt.Errorf("reading the control file of %s: %w", path.Base(l.Path), err)
	}
	p, err := deb.PackageOf(stanza)
	if err != nil {
		return deb.Package{}, fmt.Errorf("reading the control file of %s: %w", path.Base(l.Path), err)
	}
	if p.Name != l.Name || p.Version != l.Version || p.Arch != l.Arch {
		return deb.Package{}, hint.Check(fmt.Errorf("%s holds %s for %s, and %s says that it is %s for %s", path.Base(l.Path), p, p.Arch, pins.Name, l, l.Arch))
	}
	p.Filename, p.Size, p.SHA256 = l.Path, l.Size, l.SHA256
	return *p, nil
}
