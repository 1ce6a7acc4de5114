package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestPushToDigest: an image is pushed to its own digest, and nothing moves to another one.
func TestPushToDigest(t *testing.T) {
	w := newWorld(t)
	var sent atomic.Int32
	w.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			sent.Add(1)
		}
		return false
	}
	at := w.host() + "/team/base@"
	code, stdout, log := w.jubako("push", w.base, at+"sha256:"+strings.Repeat("0", 64))
	if code != 2 || stdout != "" || sent.Load() != 0 || !strings.Contains(log, "another one cannot be given") {
		t.Errorf("exit code %d after %d requests: %s%s", code, sent.Load(), stdout, log)
	}
	_, stdout, log = w.jubako("push", w.base, w.host()+"/team/base:1")
	_, own, ok := strings.Cut(strings.TrimSpace(stdout), "@")
	if !ok {
		t.Fatal(log)
	}
	at = w.host() + "/team/other@" + own
	if code, stdout, log = w.jubako("push", w.base, at); code != 0 || strings.TrimSpace(stdout) != at {
		t.Errorf("exit code %d: %s%s", code, stdout, log)
	}
}
