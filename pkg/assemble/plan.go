package assemble

import (
	"cmp"
	"context"
	"errors"

	"github.com/jubako/jubako/pkg/base"
)

// Plan says what Build would do with each layer, without doing it. Facts about the base are read where the cache lacks
// them.
func Plan(ctx context.Context, t Tools, s Spec) (_ []LayerResult, err error) {
	b := newBuilder(t, s)
	b.dry, b.lowers = true, make(map[string]*lower)
	if b.in, err = b.gather(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.in.base.Close()) }()
	platforms, err := b.platforms()
	if err != nil {
		return nil, err
	}
	b.remote = b.openRemoteCache(ctx)
	var plan []LayerResult
	for _, p := range platforms {
		low, err := b.lower(ctx, p)
		if err != nil {
			return nil, err
		}
		made, err := b.withStatic(ctx, low)
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			plan = append(plan, m.result())
		}
	}
	return plan, nil
}

// OpenBase finds the base that Build would take, as it is today: jubako.lock is not asked. It gives the name under which
// the lock would pin it.
func OpenBase(ctx context.Context, t Tools, s Spec) (string, *base.Opened, error) {
	b := newBuilder(t, s)
	in := &inputs{}
	b.in = in
	name := cmp.Or(s.Base, s.Project.Config.Base)
	if name == "" {
		if err := in.readLock(s.Project.Dir, s.Lock); err != nil {
			return "", nil, err
		}
		var why string
		name, why = b.defaultBase(in.lock)
		b.note("using base = %q (%s)", name, why)
	}
	src, err := base.ParseSource(name)
	if err != nil {
		return "", nil, err
	}
	opened, err := base.Open(ctx, src, base.Options{Client: t.Registry, Store: t.Store, Offline: s.Offline})
	return name, opened, err
}
