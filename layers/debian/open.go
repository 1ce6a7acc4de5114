package debian

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/debfile"
)

// ahead is how many packages are being fetched, or wait to be unpacked, beside those that are.
const ahead = 16

// openAll fetches and reads the packages, several at once: as many are unpacked as there are processors, and the next ones
// fetched in the meantime. The largest come first, so that none of them is alone at the end.
func (b *builder) openAll(l *Layer) error {
	b.pkgs = make([]*pkg, len(l.packages))
	errs := make([]error, len(l.packages))
	order := make([]int, len(l.packages))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(l.packages[j].Size, l.packages[i].Size) })
	var failed atomic.Int64 // the first that has failed; what follows it is not begun any more
	failed.Store(int64(len(l.packages)))
	jobs := cmp.Or(max(b.o.Jobs, 0), runtime.GOMAXPROCS(0))
	u := unpacking{slots: make(chan struct{}, jobs)}
	var g errgroup.Group
	g.SetLimit(jobs + ahead)
	for _, i := range order {
		p := l.packages[i]
		g.Go(func() error {
			if int64(i) > failed.Load() {
				return nil
			}
			content, err := debfile.Open(b.ctx, b.o.Store, u.source(p), debfile.Limits{})
			if err != nil {
				errs[i] = err
				for at := failed.Load(); int64(i) < at && !failed.CompareAndSwap(at, int64(i)); at = failed.Load() {
				}
				return err
			}
			b.pkgs[i] = &pkg{Package: p, content: content}
			return nil
		})
	}
	err := g.Wait()
	for _, p := range b.pkgs {
		if p != nil {
			l.open = append(l.open, p.content)
		}
	}
	// Of several that fail at once, the first by name is told, so that it is the same one every time.
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	for _, p := range b.pkgs {
		if err := b.introduce(p); err != nil {
			return fmt.Errorf("reading %s: %w", p.Filename, err)
		}
	}
	return nil
}

// unpacking bounds how many packages are unpacked at once, apart from how many are fetched.
type unpacking struct {
	slots chan struct{}
	tools debfile.Tools
}

// source is a package that waits for its turn once it is here.
func (u *unpacking) source(p Package) debfile.Source {
	return debfile.Source{Name: p.Filename, SHA256: p.SHA256, Tools: &u.tools, Open: func(ctx context.Context) (io.ReadCloser, error) {
		r, err := p.Open(ctx)
		if err != nil {
			return nil, err
		}
		u.slots <- struct{}{}
		return &turn{ReadCloser: r, end: func() { <-u.slots }}, nil
	}}
}

// turn is a package that is being unpacked.
type turn struct {
	io.ReadCloser
	end func()
}

func (t *turn) Close() error {
	defer t.end()
	return t.ReadCloser.Close()
}
