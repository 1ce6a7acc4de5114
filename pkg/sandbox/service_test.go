package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jubako/jubako/pkg/sandbox"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// service runs a script as a service, and what with it once it has printed a word.
func (w *world) service(script, word string, what func(context.Context, *sandbox.Service), change ...func(*sandbox.Command)) (string, error) {
	w.t.Helper()
	out := &buffer{}
	c := w.command(nil, script)
	c.Stdout, c.Stderr = out, out
	called := false
	c.Started = func(ctx context.Context, s *sandbox.Service) {
		called = true
		for ctx.Err() == nil && !strings.Contains(out.String(), word) {
			time.Sleep(time.Millisecond)
		}
		what(ctx, s)
	}
	for _, f := range change {
		f(&c)
	}
	res, err := sandbox.Run(w.t.Context(), c)
	if !called {
		w.t.Fatalf("Started was not called: %v\n%s", err, out)
	}
	if res != nil {
		must(w.t, res.Close())
	}
	return out.String(), err
}

// freePort is a TCP port that nobody listens on, kept until the test ends for those who ask for it by its number: a service may
// share this machine's network. It is bound with SO_REUSEADDR and never listens, so the kernel gives it to nobody else.
func freePort(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Close(fd)) })
	must(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	must(t, err)
	return at.(*syscall.SockaddrInet4).Port
}

func testService(w *world) {
	port, hostNetwork := freePort(w.t), false
	stop := func(s *sandbox.Service) { must(w.t, s.Signal(syscall.SIGTERM)) }
	out, err := w.service(fmt.Sprintf("serve 0.0.0.0:%d", port), "listening", func(ctx context.Context, s *sandbox.Service) {
		defer stop(s)
		hostNetwork = s.HostNetwork
		if s.Choice.Rung != w.rung || s.Choice.Detail == "" {
			w.t.Errorf("%+v", s.Choice)
		}
		for range 3 {
			c, err := s.Dial(ctx, port)
			if err != nil {
				w.t.Error(err)
				return
			}
			_, err = c.Write([]byte("hello"))
			must(w.t, errors.Join(err, c.(*net.TCPConn).CloseWrite()))
			b, err := io.ReadAll(c)
			if string(b) != "hello" || err != nil {
				w.t.Errorf("%q, %v", b, err)
			}
			must(w.t, c.Close())
		}
		if _, err := s.Dial(ctx, freePort(w.t)); !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Errorf("where nobody listens: %v", err)
		}
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); (err == nil) != s.HostNetwork {
			w.t.Errorf("directly, with this machine's network %t: %v %v", s.HostNetwork, c, err)
		}
	})
	if err != nil || out != "listening\nstopped by terminated\n" {
		w.t.Errorf("%v %q", err, out)
	}
	// As in a container of an engine, a loopback of its own is not to be reached from outside.
	out, err = w.service(fmt.Sprintf("serve 127.0.0.1:%d", port), "listening", func(ctx context.Context, s *sandbox.Service) {
		defer stop(s)
		if _, err := s.Dial(ctx, port); (err == nil) != s.HostNetwork {
			w.t.Errorf("its loopback: %v", err)
		}
	})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	if hostNetwork {
		w.clean()
		return
	}
	_, err = w.service("serve 0.0.0.0:80", "listening", func(ctx context.Context, s *sandbox.Service) {
		defer stop(s)
		c, err := s.Dial(ctx, 80)
		if err != nil {
			w.t.Errorf("a low port: %v", err)
			return
		}
		_ = c.Close()
	}, func(c *sandbox.Command) { c.User = &sandbox.User{UID: 999, GID: 998} })
	must(w.t, err)
	w.clean()
}

func testExec(w *world) {
	mark := w.mark()
	script := fmt.Sprintf("write %s x ; deaf ; sleep 300s", mark)
	_, err := w.service(script, "deaf", func(ctx context.Context, s *sandbox.Service) {
		exec := func(script string) (int, string, error) {
			var out bytes.Buffer
			code, err := s.Exec(ctx, append([]string{"prog"}, strings.Fields(script)...), &out)
			return code, out.String(), err
		}
		want := "PATH=/nowhere:/bin\nA=b\n/app\nx"
		if w.rung == sandbox.Loader {
			want = "A=b\n/app\nx"
		}
		if code, out, err := exec("env ; pwd ; cat " + mark + " ; stdin"); code != 0 || out != want || err != nil {
			w.t.Errorf("%d %q %v", code, out, err)
		}
		if code, _, err := exec("exit 9"); code != 9 || err != nil {
			w.t.Errorf("%d %v", code, err)
		}
		if code, _, err := exec("abort ; sleep 9s"); code != 128+15 || err != nil {
			w.t.Errorf("%d %v", code, err)
		}
		if code, out, err := exec("daemon " + mark + "daemon"); code != 0 || out != "started\n" || err != nil {
			w.t.Errorf("%d %q %v", code, out, err)
		}
		_, err := s.Exec(ctx, []string{"none"}, io.Discard)
		if start, ok := errors.AsType[*sandbox.StartError](err); !ok || start.Command != "none" {
			w.t.Errorf("%v", err)
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := s.Exec(short, []string{"prog", "sleep", "300s", ";", mark + "exec"}, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("beyond its time: %v", err)
		}
		for end := time.Now().Add(5 * time.Second); running(w.t, mark+"exec") > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				w.t.Error("it still runs")
				break
			}
		}
		must(w.t, s.Signal(syscall.SIGTERM)) // without effect
		must(w.t, s.Signal(syscall.SIGKILL))
	})
	if e, ok := errors.AsType[*sandbox.ExitError](err); !ok || e.Signal != "killed" {
		w.t.Errorf("%v", err)
	}
	if n := running(w.t, mark); n > 0 {
		w.t.Errorf("%d processes still run", n)
	}
	w.clean()
}

// TestOwnNetwork is what stands in for a network namespace on the ptrace rung: its loopback and its other address are two,
// as are those of two services, and there is no way out.
func TestOwnNetwork(t *testing.T) {
	w := newWorld(t, sandbox.Ptrace)
	allowed(t, w)
	machine, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer machine.Close()
	out, err := w.service("network "+machine.Addr().String(), "listening anywhere", func(context.Context, *sandbox.Service) {})
	must(t, err)
	want := "0.0.0.0 false hello 127.0.0.1 127.0.0.1\n127.0.0.1 false hello 127.0.0.1 127.0.0.1\n:: false hello ::1 ::1\n::1 false hello ::1 ::1\n" +
		"127.0.0.1 true hello 127.0.0.1 127.0.0.1\nudp packet <nil>\ntrue false\nfalse true\nfalse true\n" +
		"listening anywhere: cannot assign requested address\n"
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	_, err = w.service("serve [::]:8000", "listening", func(ctx context.Context, one *sandbox.Service) {
		_, err := w.service("serve 0.0.0.0:8000", "listening", func(ctx context.Context, other *sandbox.Service) {
			for _, s := range []*sandbox.Service{one, other} {
				c, err := s.Dial(ctx, 8000)
				if err != nil {
					t.Error(err)
					continue
				}
				must(t, c.Close())
			}
			must(t, errors.Join(other.Signal(syscall.SIGTERM), one.Signal(syscall.SIGTERM)))
		})
		must(t, err)
	})
	must(t, err)
	w.clean()
}

func testUser(w *world) {
	user := func(c *sandbox.Command) {
		c.User = &sandbox.User{UID: 999, GID: 998}
		c.Owners = func(context.Context) ([]sandbox.Owned, error) {
			return []sandbox.Owned{{"app", 999, 998}, {"app/static", 999, 998}, {"none", 5, 5}}, nil
		}
	}
	res, out := w.run("id ; caps ; write /app/x y ; write static/x y", user)
	want := "uid 999 gid 998"
	note := "uid 999 is the only user"
	if w.rung == sandbox.Chroot {
		want, note = "uid 999 gid 998 groups []", ""
	}
	if got := strings.Join(res.Choice.Notes, " "); !strings.HasPrefix(out, want) || !strings.Contains(got, note) {
		w.t.Errorf("%s; %s", out, got)
	}
	if !strings.Contains(w.privileges(out), "effective 0 permitted 0 inheritable 0 bounding 0 no_new_privs 1") {
		w.t.Errorf("privileges: %s", out)
	}
	if w.rung == sandbox.Chroot {
		w.fails("write /etc/x y", user)
	}
}

// TestStdin passes a file on as standard input.
func TestStdin(t *testing.T) {
	w := newWorld(t, sandbox.Auto)
	name := filepath.Join(t.TempDir(), "in")
	must(t, os.WriteFile(name, []byte("typed"), 0o600))
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	if _, out := w.run("stdin", func(c *sandbox.Command) { c.Stdin = f }); out != "typed" {
		t.Errorf("%q", out)
	}
	if _, out := w.run("stdin"); out != "" {
		t.Errorf("without: %q", out)
	}
}
