package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jubako/jubako/pkg/wheel/wheeltest"
)

// TestUploadsWhileAStepRuns: layers go up while the next are still being made, and no tag moves for it.
func TestUploadsWhileAStepRuns(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := stepWorld(t, fmt.Sprintf(`
[[tool.jubako.step]]
name = "endless"
command = ["prog", "dial", %q, ";", "sleep", "%ds"]
output = ["late"]
network = true
`, l.Addr(), 200_000+os.Getpid()))
	big := make([]byte, 2<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range big {
		big[i] = byte(random.Uint32())
	}
	w.lock(wheeltest.Wheel{Name: "django", Version: "5.2", Files: []wheeltest.File{{Name: "django/__init__.py", Data: "VERSION = 5\n"}}},
		wheeltest.Wheel{Name: "uvicorn", Version: "0.30", Files: []wheeltest.File{{Name: "uvicorn/__init__.py", Data: string(big)}}})
	up := make(chan struct{})
	w.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.ContentLength > int64(len(big)) {
			close(up)
		}
		return false
	}
	uploaded := make(chan bool, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
		select {
		case <-up:
			uploaded <- true
		case <-time.After(time.Minute):
			uploaded <- false
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
	}()
	code, _, log := w.jubako("build", "--base", w.base, "-t", w.host()+"/team/site:1", "--push", w.dir)
	if strings.Contains(log, "allows no way of running a command") {
		t.Skip(log)
	}
	if code != 130 || !<-uploaded {
		t.Errorf("%d\n%s", code, log)
	}
	if got := w.tags("team/site"); !strings.Contains(got, "NAME_UNKNOWN") {
		t.Error(got)
	}
	leftBehind(t)
}

// TestUploadsWhileALayerIsWritten: a large layer of which the registry has another goes up while it is written. Where it is not known what
// the registry has, it is asked first, as for any layer.
func TestUploadsWhileALayerIsWritten(t *testing.T) {
	w := newWorld(t)
	tag := w.inRegistry()
	var mu sync.Mutex
	sent := make(map[string]int64) // bytes of blobs, by method
	begun := make(chan struct{})   // with the first chunk
	begin := sync.OnceFunc(func() { close(begun) })
	w.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			begin()
		}
		if strings.Contains(r.URL.Path, "/blobs/uploads/") {
			r.Body = &counted{ReadCloser: r.Body, add: func(n int) {
				mu.Lock()
				defer mu.Unlock()
				sent[r.Method] += int64(n)
			}}
		}
		return false
	}
	build := func(version string, args ...string) (digest string, byMethod map[string]int64) {
		t.Helper()
		random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32s", version))))
		large := make([]byte, 6<<20)
		_, _ = random.Read(large)
		w.lock(wheeltest.Wheel{Name: "django", Version: "5." + version, Files: []wheeltest.File{{Name: "django/__init__.py", Data: "VERSION = 5\n"}}},
			wheeltest.Wheel{Name: "uvicorn", Version: version, Files: []wheeltest.File{{Name: "uvicorn/__init__.py", Data: string(large)}}})
		clear(sent)
		stdout, _ := w.build(append(args, "--push")...)
		return stdout, maps.Clone(sent)
	}
	const large = 6 << 20
	if _, sent := build("1", "-t", tag); sent[http.MethodPatch] != 0 || sent[http.MethodPut] < large {
		t.Errorf("with no image before it: %v", sent)
	}
	// A build that ends before the registry has said anything streams nothing: this one has a small wheel to wait for.
	w.serve = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/django-") {
			select {
			case <-begun:
			case <-time.After(20 * time.Second):
			}
		}
		return false
	}
	second, sent2 := build("2", "-t", tag)
	if sent2[http.MethodPatch] < large || sent2[http.MethodPut] > large {
		t.Errorf("with an image before it: %v", sent2)
	}
	if code, _, log := w.jubako("diff", tag, tag); code != 0 {
		t.Error(log)
	}
	t.Setenv("JUBAKO_CACHE_DIR", t.TempDir())
	third, sent3 := build("2", "-t", w.host()+"/team/other:1", "--no-cache")
	if digest(third) != digest(second) || sent3[http.MethodPatch] != 0 {
		t.Errorf("%s, and was %s; sent %v", third, second, sent3)
	}
}

// counted tells how much is read through it.
type counted struct {
	io.ReadCloser
	add func(int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.add(n)
	return n, err
}
