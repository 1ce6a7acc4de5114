// Package layers says what a layer is. Each kind of layer lives in a folder of its own below this one; these import
// this package and pkg/*, but neither pkg/output nor one another.
package layers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/observed"
)

// Format names the exact bytes that jubako writes: entry order, tar headers, gzip framing, the compressor and its
// level. It is part of every key. A change of any byte for the same input needs a new number. Format 4 is format 3 but for
// wheels that were packed badly (wheel.Archive.Repack).
const Format = 4

// Layer describes one layer of an image. It does not write tar.
type Layer interface {
	// Name is the word for the layer in the log and in the image's history: "venv".
	Name() string
	// Summary says in a few words what the layer holds: "74 packages".
	Summary() string
	// Key identifies the layer's bytes: equal keys, equal bytes. It is known before any content is downloaded or
	// built.
	Key() Key
	// Tree makes the layer's files. It is called only when nobody already has the blob for Key. Its entries' contents
	// stay readable until Close.
	Tree(ctx context.Context) (*fstree.Tree, error)
	// Close releases what Tree's contents hold open. It may be called without Tree, and more than once.
	Close() error
}

// Part is a layer that is one of several with one name, which are told of as one: those of an environment.
type Part interface {
	Layer
	// Whole says in a few words what all of them hold: "74 packages in 31 layers".
	Whole() string
}

// Watched is a layer that a command makes, of which it may be known what of the source the command has looked at. Where all
// of that is the same in another source, so is the layer.
type Watched interface {
	Layer
	// StepKey identifies the layer's bytes but for the source: with the same one, they are a function of what of the source
	// was looked at.
	StepKey() Key
	// Looked gives what was looked at while Tree made the layer; an error says why that is not known.
	Looked() ([]observed.Look, error)
}

// Key is the digest of the canonical form of everything that a layer's bytes depend on: 64 lower-case hex digits.
type Key string

// KeyOf makes the key of a layer from its kind and a value that holds all of the layer's inputs. The canonical form is
// encoding/json's: struct fields in their declared order, map keys sorted. Inputs must marshal without error, since they
// are plain data.
func KeyOf(kind string, inputs any) Key {
	b, err := json.Marshal(inputs)
	if err != nil {
		panic(fmt.Sprintf("layers: inputs of %s: %v", kind, err)) // a programming error: a key is made of plain data
	}
	h := sha256.New()
	fmt.Fprintf(h, "jubako %d %s\n", Format, kind)
	h.Write(b)
	return Key(hex.EncodeToString(h.Sum(nil)))
}
