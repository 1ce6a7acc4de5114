package assemble

import (
	"context"
	"errors"
)

// Plan says what Build would do with each layer, without doing it. Facts about the base are read where the cache lacks
// them.
func Plan(ctx context.Context, t Tools, s Spec) (_ []LayerResult, err error) {
	if err := s.Compression.check(s.Format); err != nil {
		return nil, err
	}
	b := newBuilder(t, s)
	b.dry, b.lowers = true, make(map[string]*lower)
	ctx, stop := context.WithCancel(ctx)
	defer func() { err = errors.Join(err, b.end(stop)) }()
	if err := b.gather(ctx); err != nil {
		return nil, err
	}
	platforms, err := b.platforms()
	if err != nil {
		return nil, err
	}
	var plan []LayerResult
	for _, p := range platforms {
		low, err := b.lower(ctx, p)
		if err != nil {
			return nil, err
		}
		made, err := b.withCommands(ctx, low)
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			plan = append(plan, m.result())
		}
	}
	return plan, nil
}
