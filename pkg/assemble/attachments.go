package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/attach"
	"github.com/jubako/jubako/pkg/output"
)

// attachments are what travels with the image that is built, and what travelled with the ones before it (pkg/attach).
type attachments struct {
	mu   sync.Mutex
	all  []attach.Attachment
	from map[string]*name.Repository // where an attachment came from
	// known are the blobs of attachments that were found in a repository, by its name.
	known map[string][]v1.Hash
}

// attach has a small blob travel with the image under a name that nothing else has; of a name that was given already, the
// last counts.
func (b *builder) attach(name string, data []byte) {
	b.travels.mu.Lock()
	defer b.travels.mu.Unlock()
	for i, a := range b.travels.all {
		if a.Name == name {
			b.travels.all[i].Data = data
			return
		}
	}
	b.travels.all = append(b.travels.all, attach.Attachment{Name: name, Data: data})
}

// attached gives what travels under a name with an earlier image: the one that a tag leads to, else one of --cache-from. It
// is nil where nothing does. ok is asked whether the content will do, before it is looked for further on, and may be nil.
// Whoever may push to from may have written it. A registry is asked once.
func (b *builder) attached(ctx context.Context, attachment string, ok func([]byte) error) (data []byte, from *name.Repository) {
	for _, e := range b.remote.images() {
		list, err := e.attachments()
		if err == nil {
			data, err = list.Read(ctx, attachment)
		}
		if err == nil && data != nil && ok != nil {
			err = ok(data)
		}
		switch {
		case err != nil:
			b.debug("%s of %s is not used: %v", attachment, e.opened.Source, err)
		case data != nil:
			b.travels.found(attachment, e.opened.Repository, list.Blobs())
			return data, e.opened.Repository
		}
	}
	return nil, nil
}

// found notes where an attachment came from.
func (a *attachments) found(attachment string, repo *name.Repository, blobs []v1.Hash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from == nil {
		a.from, a.known = make(map[string]*name.Repository), make(map[string][]v1.Hash)
	}
	a.from[attachment], a.known[repo.Name()] = repo, blobs
}

// attachedRecords is the namespace in the cache where a repository leads to the blobs that were attached to images in it.
const attachedRecords = "attached"

// attachOptions say what is attached to the image that is pushed.
func (b *builder) attachOptions() output.AttachOptions {
	b.attachLooks(b.made)
	b.travels.mu.Lock()
	defer b.travels.mu.Unlock()
	return output.AttachOptions{
		Attachments: b.travels.all, AttachedFrom: b.travels.from, Note: func(s string) { b.debug("%s", s) },
		AttachedEarlier: func(repo name.Repository) (known []v1.Hash) {
			record, err := b.Store.Record(attachedRecords, repo.Name())
			if err != nil || json.Unmarshal(record, &known) != nil {
				known = nil
			}
			return append(known, b.travels.known[repo.Name()]...)
		},
		Attached: func(repo name.Repository) {
			known := []v1.Hash{attach.Attachment{Data: []byte(attach.Empty)}.Digest()}
			for _, a := range b.travels.all {
				known = append(known, a.Digest())
			}
			record, err := json.Marshal(known)
			if err == nil {
				err = b.Store.PutRecord(attachedRecords, repo.Name(), record)
			}
			for _, d := range known {
				err = errors.Join(err, b.held(repo, d))
			}
			if err != nil {
				b.debug("what is attached in %s is not noted: %v", repo, err)
			}
		},
	}
}
