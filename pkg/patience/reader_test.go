package patience

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReader(t *testing.T) {
	const text = "what somebody waits for"
	if err := iotest.TestReader(Reader(t.Context(), strings.NewReader(text)), []byte(text)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r := Reader(ctx, strings.NewReader(text))
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		t.Error(err)
	}
	why := errors.New("nobody waits any more")
	cancel(why)
	if got, err := io.ReadAll(r); len(got) > 0 || !errors.Is(err, why) {
		t.Errorf("%q, %v", got, err)
	}
}
