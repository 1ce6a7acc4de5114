package assemble

import (
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/output"
)

// Pushing is the Name of the events that say how far a push is.
const Pushing = "push"

// PushProgress reports the blobs that are on their way as one. Once all that were begun have arrived, they are ended, and the next
// are counted anew.
func PushProgress(report func(Event)) func(output.Blob, int64) {
	var mu sync.Mutex
	sent := make(map[v1.Hash]int64)
	var done, total int64
	return func(b output.Blob, n int64) {
		mu.Lock()
		defer mu.Unlock()
		before, begun := sent[b.Digest]
		if !begun {
			total += b.Size
		}
		sent[b.Digest] = n // less than before where an upload broke off and begins again
		done += n - before
		report(Event{Kind: Progress, Name: Pushing, Text: count(len(sent), "blob"), Done: done, Total: total})
		if done >= total {
			report(Event{Kind: Ended, Name: Pushing})
			clear(sent)
			done, total = 0, 0
		}
	}
}
