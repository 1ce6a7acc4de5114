package assemble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jubako/jubako/layers"
	"github.com/jubako/jubako/pkg/cas"
)

// What commands have looked at travels with a pushed image (pkg/attach), for the next machine to reuse their layers.

// looksName is the attachment: for each command a line with the step's key, the layer's diffID and the length of the record, and the
// record's bytes. An attachment is base64 in its manifest, and not to be that once more within.
const looksName = "looks"

const (
	maxTravelling  = 64      // commands of one image, on all platforms
	maxTravelBytes = 1 << 20 // of the attachment
	lineOfLooks    = 64 + 1 + 64 + 1 + 10 + 1
)

// travellingLooks is what the command of one layer has looked at, as it goes with an image.
type travellingLooks struct {
	Step   layers.Key // the step's key, without the source
	DiffID string     // of the layer, SHA-256 in hex
	Looks  []byte     // an observed.Record
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
		if size += len(k.Looks) + lineOfLooks; !ok || len(all) == maxTravelling || size > maxTravelBytes || slices.ContainsFunc(all, l.is) {
			continue
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return
	}
	b.attach(looksName, marshalTravelling(all))
}

func marshalTravelling(all []travellingLooks) []byte {
	var b []byte
	for _, l := range all {
		b = fmt.Appendf(b, "%s %s %d\n", l.Step, l.DiffID, len(l.Looks))
		b = append(b, l.Looks...)
	}
	return b
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
	for len(b) > 0 {
		line, _, ended := strings.Cut(string(b[:min(len(b), lineOfLooks)]), "\n")
		f := strings.Split(line, " ")
		if !ended || len(all) == maxTravelling || len(f) != 3 || !cas.ValidDigest(f[0]) || !cas.ValidDigest(f[1]) {
			return nil, fmt.Errorf("entry %d is not one", len(all))
		}
		n, err := strconv.ParseUint(f[2], 10, 31)
		if b = b[len(line)+1:]; err != nil || n > uint64(len(b)) {
			return nil, fmt.Errorf("entry %d is cut", len(all))
		}
		all = append(all, travellingLooks{Step: layers.Key(f[0]), DiffID: f[1], Looks: b[:n:n]})
		b = b[n:]
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
