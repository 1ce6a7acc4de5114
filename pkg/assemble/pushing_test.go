package assemble

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/output"
)

func TestPushProgress(t *testing.T) {
	var said []string
	progress := PushProgress(func(e Event) {
		said = append(said, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Text, " ", e.Done, "/", e.Total)))
	})
	blob := func(name string, size int64) output.Blob {
		return output.Blob{Name: name, Size: size, Digest: v1.Hash{Hex: name}}
	}
	a, b := blob("a", 100), blob("b", 50)
	progress(a, 60)
	progress(b, 20)
	progress(b, 10) // begun again
	progress(a, 100)
	progress(b, 50)
	progress(blob("c", 7), 7)
	want := []string{"progress 1 blob 60/100", "progress 2 blobs 80/150", "progress 2 blobs 70/150", "progress 2 blobs 110/150", "progress 2 blobs 150/150", "ended  0/0",
		"progress 1 blob 7/7", "ended  0/0"}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("%q", said)
	}
}
