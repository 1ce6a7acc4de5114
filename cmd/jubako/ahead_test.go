package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
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
