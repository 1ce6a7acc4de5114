package cas

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// TestFollow: who reads along gets every byte as it comes, and the end once the blob is in its place.
func TestFollow(t *testing.T) {
	s := open(t, t.TempDir())
	w, err := s.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	write("one ")
	early, err := w.Follow()
	if err != nil {
		t.Fatal(err)
	}
	read := make([]byte, 4)
	if n, err := io.ReadFull(early, read); string(read[:n]) != "one " || err != nil {
		t.Errorf("%q, %v", read[:n], err)
	}
	next := make(chan string)
	go func() {
		n, err := early.Read(read)
		next <- string(read[:n])
		rest, rerr := io.ReadAll(early)
		if err = errors.Join(err, rerr); err != nil {
			next <- err.Error()
		}
		next <- string(rest)
	}()
	write("two ")
	if got := <-next; got != "two " {
		t.Errorf("%q", got)
	}
	write("three")
	late, err := w.Follow()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(""); err != nil {
		t.Fatal(err)
	}
	if got := <-next; got != "three" {
		t.Errorf("%q", got)
	}
	if err := iotest.TestReader(late, []byte("one two three")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(early.Close(), late.Close()); err != nil {
		t.Error(err)
	}
}

// TestFollowNothing: a blob that never becomes whole has no end that could be taken for one, and who waits for more can be woken.
func TestFollowNothing(t *testing.T) {
	s := open(t, t.TempDir())
	for _, tc := range []struct {
		name string
		end  func(*Writer, *Follower)
		want error
	}{
		{"given up", func(w *Writer, _ *Follower) { w.Abort() }, errGivenUp},
		{"of another digest", func(w *Writer, _ *Follower) { _, _ = w.Commit(strings.Repeat("0", 64)) }, errGivenUp},
		{"kept for later", func(w *Writer, _ *Follower) { _ = w.Keep("it") }, errGivenUp},
		{"closed", func(_ *Writer, r *Follower) { _ = r.Close() }, os.ErrClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, err := s.NewWriter()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Abort()
			r, err := w.Follow()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := w.Write([]byte("begun")); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			begun := make(chan error)
			go func() {
				_, err := io.CopyN(&got, r, 5)
				begun <- err
				_, err = io.Copy(&got, r)
				begun <- err
			}()
			if err := <-begun; err != nil {
				t.Fatal(err)
			}
			tc.end(w, r)
			if err := <-begun; !errors.Is(err, tc.want) || got.String() != "begun" {
				t.Errorf("%q, %v", got.String(), err)
			}
		})
	}
}
