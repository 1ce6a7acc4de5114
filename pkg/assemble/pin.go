package assemble

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/project"
)

// Pinner describes for jubako.lock what Build would take today. Its two halves look at one base, which is opened once.
type Pinner struct {
	tools Tools
	spec  Spec
	// Of the base that Pin has pinned.
	opened *base.Opened
	pinned *pins.File
	noted  []string // what has been said of it
}

// NewPinner makes one. It is closed in the end.
func NewPinner(t Tools, s Spec) *Pinner { return &Pinner{tools: t, spec: s} }

// Close releases the base.
func (p *Pinner) Close() error {
	if p.opened == nil {
		return nil
	}
	opened := p.opened
	p.opened, p.pinned = nil, nil
	return opened.Close()
}

// Pin describes the base, and Debian packages for its platforms. Where keep is not nil and pins the same base, the base stays
// what it is there.
func (p *Pinner) Pin(ctx context.Context, keep *pins.File) (*pins.File, error) {
	t, s := p.tools, p.spec
	b := newBuilder(t, s)
	b.in = &inputs{}
	name, why, err := b.nameBase()
	if err != nil {
		return nil, err
	}
	if why != "" {
		b.note("using base = %q (%s)", name, why)
	}
	src, err := base.ParseSource(name)
	if err != nil {
		return nil, err
	}
	b.in.pins = keep
	src, b.in.pinned = keep.Pinned(src)
	if err := p.Close(); err != nil {
		return nil, err
	}
	opened, err := b.open(ctx, src)
	if err != nil {
		return nil, err
	}
	p.opened = opened
	platforms, single, err := pinned(ctx, opened, s.Platforms, t.Host)
	if err != nil {
		return nil, err
	}
	f := pins.New(pins.BaseOf(name, opened, single))
	if f.Debian, err = b.pinDebian(ctx, opened, platforms); err != nil {
		return nil, err
	}
	f.Debian = b.pinBase(f.Debian)
	p.pinned, p.noted = f, b.noted
	return f, nil
}

// nameBase is the base's name as it is asked for; or else the one that the project's Python wants, and why.
func (b *builder) nameBase() (name, why string, err error) {
	if name = cmp.Or(b.spec.Base, b.spec.Project.Config.Base); name != "" {
		return name, "", nil
	}
	if err = b.in.readLock(b.spec.Project.Dir, b.spec.Lock); err != nil {
		return "", "", err
	}
	name, why = b.defaultBase(b.in.lock)
	return name, why, nil
}

// BaseName is the name under which jubako.lock would pin the base; "" where nothing tells.
func BaseName(t Tools, s Spec) string {
	b := &builder{Tools: t, spec: s, in: &inputs{}}
	name, _, err := b.nameBase()
	if err != nil {
		return ""
	}
	return name
}

// pinned are the platforms that packages are pinned for: those that are asked for, else those of an index that are this
// machine's, amd64's and arm64's. single is the platform of a base that is no index.
func pinned(ctx context.Context, o *base.Opened, asked []v1.Platform, host v1.Platform) (all []v1.Platform, single v1.Platform, err error) {
	if !o.IsIndex() {
		img, err := o.Image(ctx, v1.Platform{})
		if err != nil {
			return nil, single, err
		}
		return []v1.Platform{img.Platform}, img.Platform, nil
	}
	if len(asked) > 0 {
		return asked, single, nil
	}
	for _, m := range o.Manifests() {
		if a := m.Platform.Architecture; m.Platform.OS == "linux" && (a == "amd64" || a == "arm64" || a == host.Architecture) {
			all = append(all, m.Platform)
		}
	}
	return all, single, nil
}

// pinDebian resolves what the configuration asks for; nil where it asks for no packages.
func (b *builder) pinDebian(ctx context.Context, o *base.Opened, platforms []v1.Platform) (*pins.Debian, error) {
	c := b.spec.Project.Config.Debian
	requests := b.spec.debRequests()
	if len(requests) == 0 {
		return nil, nil
	}
	d := &pins.Debian{Exclude: c.ExcludePackages}
	for _, p := range platforms {
		img, err := o.Image(ctx, p)
		if err != nil {
			return nil, err
		}
		dpkg, installed, err := b.installed(ctx, img)
		if err != nil {
			return nil, err
		}
		for _, r := range requests {
			set, err := b.resolveDebs(ctx, img, dpkg, installed, r.request, r.over)
			if err != nil {
				return nil, fmt.Errorf("platform %s: %w", img.Platform, err)
			}
			for _, w := range set.Warnings {
				b.warn(w)
			}
			addClosure(d, set)
		}
	}
	slices.SortStableFunc(d.Closures, func(x, y pins.Closure) int {
		return cmp.Or(cmp.Compare(x.Platform, y.Platform), cmp.Compare(len(x.Over), len(y.Over)), slices.Compare(x.Request, y.Request), slices.Compare(x.Over, y.Over))
	})
	return d, nil
}

// debRequest is a request, and the one whose packages are there already.
type debRequest struct{ request, over []string }

// debRequests are those of all profiles, each once.
func (s *Spec) debRequests() []debRequest {
	var all []debRequest
	for _, c := range append([]project.Debian{s.Project.Config.Debian}, s.AlsoPin...) {
		for _, r := range []debRequest{{c.Packages, nil}, {c.BuildPackages, c.Packages}} {
			known := slices.ContainsFunc(all, func(o debRequest) bool { return slices.Equal(o.request, r.request) && slices.Equal(o.over, r.over) })
			if len(r.request) > 0 && !known {
				all = append(all, r)
			}
		}
	}
	return all
}

// addClosure takes a set over, whose sources are counted anew.
func addClosure(d *pins.Debian, set *debs) {
	number := make([]int, len(set.Sources))
	for i, s := range set.Sources {
		number[i] = slices.IndexFunc(d.Sources, func(o pins.Source) bool { return o.URI == withoutUser(s.URI) && o.Suite == s.Suite })
		if number[i] < 0 {
			number[i] = len(d.Sources)
			s.URI, s.Snapshot = withoutUser(s.URI), withoutUser(s.Snapshot) // a lock is no place for a password: .netrc is
			d.Sources = append(d.Sources, s)
		}
	}
	c := set.Closure
	c.Packages = slices.Clone(c.Packages)
	for i := range c.Packages {
		c.Packages[i].Source = number[c.Packages[i].Source]
	}
	d.Closures = append(d.Closures, c)
}

// withoutUser takes the credentials out of a URL.
func withoutUser(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	u.User = nil
	return u.String()
}

// Pins says whether a lock has what the configuration asks for on the platforms that it was made for.
func Pins(f *pins.File, s Spec) bool {
	c := s.Project.Config.Debian
	requests := s.debRequests()
	if len(requests) == 0 {
		// What a base of packages is made of belongs to the base.
		return f.Debian == nil || !slices.ContainsFunc(f.Debian.Closures, func(c pins.Closure) bool { return !slices.Equal(c.Request, baseRequest[:]) })
	}
	if f.Debian == nil || !slices.Equal(f.Debian.Exclude, c.ExcludePackages) || len(f.Debian.Closures) == 0 {
		return false
	}
	var platforms []string
	for _, p := range s.Platforms {
		platforms = append(platforms, p.String())
	}
	for _, cl := range f.Debian.Closures {
		platforms = append(platforms, cl.Platform)
	}
	for _, p := range platforms {
		for _, r := range requests {
			if _, ok := f.Debian.Closure(p, r.request, r.over); !ok {
				return false
			}
		}
	}
	return true
}
