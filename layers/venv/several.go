package venv

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pep508"
)

// Layers describes an environment as the layers that Divide makes of its packages, lowest first. A small environment is one
// layer; else the first is the environment itself, without which the packages' layers stay as they are when the base has a
// new patch release of Python.
func Layers(o Options) ([]*Layer, error) {
	weighed := make([]Weighed, len(o.Packages))
	byName := make(map[string]Package, len(o.Packages))
	for i, p := range o.Packages {
		weighed[i] = Weighed{p.Name, p.Size}
		byName[pep508.Normalize(p.Name)] = p
	}
	groups := Divide(weighed, o.Most)
	if len(groups) < 2 || len(byName) < len(o.Packages) { // New says which package is there twice
		l, err := New(o)
		return []*Layer{l}, err
	}
	o.claims = &claims{seed: maphash.MakeSeed(), of: make(map[uint64]claim)}
	o.whole = fmt.Sprintf("%d packages in %d layers", len(o.Packages), 1+len(groups))
	skeleton := o
	skeleton.Packages = nil
	first, err := New(skeleton)
	if err != nil {
		return nil, err
	}
	needs := needed(o.Packages)
	all := []*Layer{first}
	for i, names := range groups {
		part := o
		part.NoSkeleton, part.Packages, part.rank = true, nil, i+1
		for _, name := range names {
			p := byName[name]
			p.Requires = needs[name] // also over packages of other layers
			part.Packages = append(part.Packages, p)
		}
		l, err := New(part)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// needed gives for each package, by its normalized name, the packages that it needs, over whatever others.
func needed(packages []Package) map[string][]string {
	direct := make(map[string][]string, len(packages))
	for _, p := range packages {
		name := pep508.Normalize(p.Name)
		for _, r := range p.Requires {
			direct[name] = append(direct[name], pep508.Normalize(r))
		}
	}
	all := make(map[string][]string, len(packages))
	for name := range direct {
		seen := map[string]bool{name: true}
		for queue := direct[name]; len(queue) > 0; queue = queue[1:] {
			if r := queue[0]; !seen[r] {
				seen[r] = true
				all[name] = append(all[name], r)
				queue = append(slices.Clip(queue), direct[r]...)
			}
		}
	}
	return all
}

// claims notes which layer of an environment brings which path, so that what two layers bring is said. It knows only the
// layers that are made in the same build; which file is taken does not depend on it.
type claims struct {
	mu   sync.Mutex
	seed maphash.Seed
	of   map[uint64]claim // by the hash of the path: an environment may have hundreds of thousands
	said map[[2]string]bool
}

type claim struct {
	rank     int
	kind     fstree.Kind
	producer string
	size     int64
	crc      uint32
}

// take notes the paths of a layer's tree. A path that is a directory of one layer and none of another is an error, since
// an upper layer would hide all that lies below it.
func (c *claims) take(rank int, tree *fstree.Tree, warn func(string)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := range tree.All() {
		now := claim{rank: rank, kind: e.Kind, producer: e.Producer}
		if e.Kind == fstree.File {
			now.size = e.Content.Size()
			if c, ok := e.Content.(interface{ CRC32() uint32 }); ok {
				now.crc = c.CRC32()
			}
		}
		at := maphash.String(c.seed, e.Path)
		old, taken := c.of[at]
		if !taken || old.rank < rank {
			c.of[at] = now
		}
		switch {
		case !taken, old.kind == fstree.Dir && e.Kind == fstree.Dir:
		case old.kind == fstree.Dir || e.Kind == fstree.Dir:
			return hint.Wrap(fmt.Errorf("/%s is a %s of %s and a %s of %s", e.Path, old.kind, old.producer, e.Kind, e.Producer), unmergeable)
		case old.size != now.size || old.crc != now.crc:
			lower, upper := old.producer, now.producer
			if old.rank > rank {
				lower, upper = upper, lower
			}
			if pair := [2]string{lower, upper}; !c.said[pair] && warn != nil {
				if c.said == nil {
					c.said = make(map[[2]string]bool)
				}
				c.said[pair] = true
				warn(fmt.Sprintf("%s and %s both bring /%s, with different content: %s's is taken, since its layer is the upper one", lower, upper, e.Path, upper))
			}
		}
	}
	return nil
}
