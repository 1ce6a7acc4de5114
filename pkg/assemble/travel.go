package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/observed"
	"github.com/jubako/jubako/pkg/output"
)

// What commands have looked at goes with a pushed image, for the next machine to reuse their layers. It is no part of the
// image, whose digest says what the image is and not how it was made.

const (
	looksKind       = "application/vnd.jubako.looks.v1+json"
	looksAnnotation = "dev.jubako.looks"
	maxTravelling   = 64 // commands of one image
)

// travellingLooks is what the command of one layer has looked at, as it goes with an image.
type travellingLooks struct {
	Step   layers.Key `json:"step"`   // the step's key, without the source
	DiffID string     `json:"diffID"` // of the layer, SHA-256 in hex
	Looks  []byte     `json:"looks"`
}

// attachments are what is to go with an image.
func (b *builder) attachments(img output.Image) []output.Attachment {
	var all []travellingLooks
	size := 0
	for _, m := range b.made[img.Digest] {
		if m.stepKey == "" {
			continue
		}
		k, ok := b.looksOf(m)
		if size += len(k.Looks); !ok || len(all) == maxTravelling || size > output.MaxAttachment/2 { // in base64, with the rest
			continue
		}
		all = append(all, travellingLooks{m.stepKey, m.DiffID, k.Looks})
	}
	if len(all) == 0 {
		return nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		b.debug("writing what the steps looked at: %v", err)
		return nil
	}
	return []output.Attachment{{Kind: looksKind, Name: looksAnnotation, Text: string(text)}}
}

// earlierLooks reads what goes with an image of before. What cannot be read is no error: then the commands run.
func (b *builder) earlierLooks(ctx context.Context, img *base.Image) map[layers.Key][]keptLooks {
	if img.Repository == nil {
		return nil
	}
	texts, err := output.Attached(ctx, b.Registry, *img.Repository, img.Digest, looksKind, looksAnnotation)
	if err != nil {
		b.debug("%v", err)
		return nil
	}
	all := make(map[layers.Key][]keptLooks)
	for _, text := range texts {
		looks, err := parseTravelling([]byte(text))
		if err != nil {
			b.debug("reading what goes with %s@%s: %v", img.Repository.Name(), img.Digest, err)
			continue
		}
		for _, l := range looks {
			all[l.Step] = append(all[l.Step], keptLooks{DiffID: l.DiffID, Looks: l.Looks})
		}
	}
	return all
}

// parseTravelling reads what a registry says that commands have looked at. The records themselves are observed.Parse's.
func parseTravelling(b []byte) ([]travellingLooks, error) {
	var all []travellingLooks
	if len(b) > output.MaxAttachment {
		return nil, errors.New("it is too long")
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	if len(all) > maxTravelling {
		return nil, fmt.Errorf("it tells of %d steps", len(all))
	}
	for i, l := range all {
		if !isSHA256(string(l.Step)) || !isSHA256(l.DiffID) || len(l.Looks) > observed.MaxRecord {
			return nil, fmt.Errorf("entry %d is not one", i)
		}
	}
	return all, nil
}

func isSHA256(s string) bool {
	const digits = 64
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == digits
}

// looks are what commands have looked at under a step's key, as earlier images tell.
func (c *remoteCache) looks(key layers.Key) []keptLooks {
	if c == nil || key == "" {
		return nil
	}
	c.once.Do(func() { c.all = c.find() })
	c.looksOnce.Do(func() {
		c.allLooks = make(map[layers.Key][]keptLooks)
		for _, img := range c.images {
			for key, looks := range c.findLooks(img) {
				c.allLooks[key] = append(c.allLooks[key], looks...)
			}
		}
	})
	return c.allLooks[key]
}

// looksOf finds what the command of a layer has looked at, here or in a registry.
func (b *builder) looksOf(l madeLayer) (keptLooks, bool) {
	for _, find := range []func(layers.Key) []keptLooks{func(key layers.Key) []keptLooks { return keptIn(b.Store, key) }, b.remote.looks} {
		for _, k := range find(l.stepKey) {
			if k.DiffID == l.DiffID {
				return k, true
			}
		}
	}
	return keptLooks{}, false
}
