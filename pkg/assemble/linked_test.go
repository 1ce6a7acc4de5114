package assemble

import (
	"context"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

// TestLinked: the libraries of a base are known where its facts are those of a summary, which leaves them out.
func TestLinked(t *testing.T) {
	facts := &base.Facts{Files: map[string]base.Stat{}}
	const lib = "usr/lib/x86_64-linux-gnu/libfoo.so.1"
	for i, c := range lib {
		if c == '/' {
			facts.Files[lib[:i]] = base.Stat{Kind: fstree.Dir, Mode: 0o755}
		}
	}
	facts.Files[lib] = base.Stat{Kind: fstree.File, Mode: 0o644}
	img := &base.Image{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, Config: []byte("{}")}
	raw, err := img.Summarize(facts, &base.Dpkg{})
	if err != nil {
		t.Fatal(err)
	}
	summary, err := base.ParseSummary(raw, img.Digest, func(context.Context) (*base.Facts, error) { return facts, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, there := summary.Files[lib]; there {
		t.Fatal("the summary has it, and shows nothing here")
	}
	b, l := &builder{}, &lower{facts: summary}
	if err := b.checkLinked(t.Context(), l, "x", []string{"libfoo.so.1"}); err != nil {
		t.Error(err)
	}
	if err := b.checkLinked(t.Context(), l, "x", []string{"libnone.so.3"}); err == nil || !strings.Contains(err.Error(), "package x is linked with libnone.so.3") {
		t.Error(err)
	}
}
