package debian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

// Effects is what the layers above need to know of this one. It is kept in the cache, so that a layer which is there need
// not be made to tell.
type Effects struct {
	// Changed holds what stands at the paths that the layer brings; Removed lists those of the base that it takes away.
	Changed map[string]base.Stat `json:"changed"`
	Removed []string             `json:"removed,omitempty"`
	// Accounts are the account files as the layer leaves them; nil where it leaves them alone.
	Accounts *accounts.Files `json:"accounts,omitempty"`
	// Scripts says of every package what became of its maintainer scripts.
	Scripts []Script `json:"scripts"`
	// Notes are the lines for Options.Warn.
	Notes []string `json:"notes,omitempty"`
}

const effectRecords = "debian"

// Effects gives what the layer does to the base. It reads the packages, unless the cache knows the answer.
func (l *Layer) Effects(ctx context.Context) (*Effects, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made != nil {
		return l.made.effects, nil
	}
	if e, ok := l.Known(); ok {
		return e, l.tell(e)
	}
	m, err := l.make(ctx)
	if err != nil {
		return nil, err
	}
	l.made = m
	return m.effects, nil
}

// Over gives the facts of the base with this layer on it: its files, and the accounts that packages have brought.
func (e *Effects) Over(f *base.Facts) *base.Facts {
	over := f.With(e.Changed, e.Removed)
	if a := e.Accounts; a != nil {
		over.Passwd, over.Group, over.Shadow, over.GShadow = a.Passwd, a.Group, a.Shadow, a.GShadow
	}
	return over
}

// The bounds of effects that travel, in bytes: packed, and unpacked. The window decides the memory of who packs them.
const (
	maxPacked   = 1 << 20
	maxUnpacked = 16 << 20
	window      = 512 << 10
)

// Pack gives the effects as they travel with an image: JSON in a zstd frame (RFC 8878). The same effects have the same bytes.
func (e *Effects) Pack() ([]byte, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	b := z.EncodeAll(raw, nil)
	if len(raw) > maxUnpacked || len(b) > maxPacked {
		return nil, fmt.Errorf("what the Debian packages change takes %d bytes; at most %d travel", len(b), maxPacked)
	}
	return b, nil
}

// Unpack reads effects that have travelled.
func Unpack(b []byte) (*Effects, error) {
	if len(b) > maxPacked {
		return nil, fmt.Errorf("what Debian packages change takes %d bytes; at most %d are read", len(b), maxPacked)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(b, nil)
	if err != nil {
		return nil, fmt.Errorf("reading what Debian packages change: %w", err)
	}
	return unpackPlain(raw)
}

func unpackPlain(raw []byte) (*Effects, error) {
	var e Effects
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("reading what Debian packages change: %w", err)
	}
	if e.Changed == nil {
		return nil, errors.New("reading what Debian packages change: it says nothing")
	}
	for p, s := range e.Changed {
		if err := fstree.CheckPath(p); err != nil {
			return nil, fmt.Errorf("reading what Debian packages change: %w", err)
		}
		if s.Kind != fstree.Dir && s.Kind != fstree.File && s.Kind != fstree.Symlink || s.Mode > 0o7777 || s.UID < 0 || s.GID < 0 {
			return nil, fmt.Errorf("reading what Debian packages change: /%s is nothing that a package brings", p)
		}
	}
	return &e, nil
}

// Believe takes for the layer's effects what was unpacked, in place of making them.
func (l *Layer) Believe(e *Effects) error { return l.tell(e) }

// Known gives the effects where this machine has made them; false where it has not.
func (l *Layer) Known() (*Effects, bool) {
	b, err := l.options.Store.Record(effectRecords, string(l.key))
	if err != nil {
		return nil, false
	}
	var e Effects
	return &e, json.Unmarshal(b, &e) == nil
}
