package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/observed"
)

// What commands have looked at travels with a pushed image (pkg/attach), for the next machine to reuse their layers.

// looksName is the attachment.
const looksName = "looks"

const (
	maxTravelling  = 64      // commands of one image, on all platforms
	maxTravelBytes = 1 << 20 // of the attachment
)

// travellingLooks is what the command of one layer has looked at, as it goes with an image.
type travellingLooks struct {
	Step   layers.Key `json:"step"`   // the step's key, without the source
	DiffID string     `json:"diffID"` // of the layer, SHA-256 in hex
	Looks  []byte     `json:"looks"`
}

// attachLooks lets what the commands of these layers have looked at travel with the image.
func (b *builder) attachLooks(made []madeLayer) {
	var all []travellingLooks
	size := 0
	for _, m := range made {
		if m.stepKey == "" {
			continue
		}
		k, ok := b.looksOf(m)
		l := travellingLooks{m.stepKey, m.DiffID, k.Looks}
		if size += len(k.Looks); !ok || len(all) == maxTravelling || size > maxTravelBytes/2 || slices.ContainsFunc(all, l.is) { // in base64, with the rest
			continue
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return
	}
	text, err := json.Marshal(all)
	if err != nil {
		b.debug("writing what the steps looked at: %v", err)
		return
	}
	b.attach(looksName, text)
}

func (l travellingLooks) is(other travellingLooks) bool {
	return l.Step == other.Step && l.DiffID == other.DiffID
}

// earlierLooks reads what travels with an image of before. What cannot be read is no error: then the commands run.
func (b *builder) earlierLooks(ctx context.Context) map[layers.Key][]keptLooks {
	var looks []travellingLooks
	b.attached(ctx, looksName, func(raw []byte) (err error) {
		looks, err = parseTravelling(raw)
		return err
	})
	all := make(map[layers.Key][]keptLooks)
	for _, l := range looks {
		all[l.Step] = append(all[l.Step], keptLooks{DiffID: l.DiffID, Looks: l.Looks})
	}
	return all
}

// parseTravelling reads what a registry says that commands have looked at. The records themselves are observed.Parse's.
func parseTravelling(b []byte) ([]travellingLooks, error) {
	var all []travellingLooks
	if len(b) > maxTravelBytes {
		return nil, errors.New("it is too long")
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	if len(all) > maxTravelling {
		return nil, fmt.Errorf("it tells of %d steps", len(all))
	}
	for i, l := range all {
		if !cas.ValidDigest(string(l.Step)) || !cas.ValidDigest(l.DiffID) || len(l.Looks) > observed.MaxRecord {
			return nil, fmt.Errorf("entry %d is not one", i)
		}
	}
	return all, nil
}

// looks are what commands have looked at under a step's key, as earlier images tell.
func (c *remoteCache) looks(key layers.Key) []keptLooks {
	if c == nil || key == "" {
		return nil
	}
	c.looksOnce.Do(func() { c.allLooks = c.findLooks() })
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
