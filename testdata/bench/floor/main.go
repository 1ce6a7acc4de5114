// Floor measures what every builder has to do for a set of wheels: to inflate each of their files once (the layer's diff ID is over
// their content) and to hash twice, the content and the compressed bytes. It takes as long as that takes with the fastest of Go's
// libraries, or, with -own, with jubako's own decoder. The wheels are read from the disk's cache.
//
//	floor -j 2 [-own] WHEEL…      prints {"seconds": …, "compressed": …, "unpacked": …, "wheels": …}
package main

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sync/errgroup"

	"github.com/jubako/jubako/pkg/inflate"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run() error {
	jobs := flag.Int("j", 1, "wheels at once")
	own := flag.Bool("own", false, "inflate with jubako's own decoder")
	flag.Parse()
	sizes := map[string]int64{}
	var compressed, unpacked atomic.Int64
	for _, name := range flag.Args() {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		sizes[name] = info.Size()
		compressed.Add(info.Size())
	}
	names := flag.Args()
	slices.SortFunc(names, func(a, b string) int { return int(sizes[b] - sizes[a]) }) // the largest first: the shortest way for several workers
	start := time.Now()
	var g errgroup.Group
	g.SetLimit(*jobs)
	for _, name := range names {
		g.Go(func() error {
			n, err := pass(name, *own)
			unpacked.Add(n)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": time.Since(start).Seconds(), "compressed": compressed.Load(), "unpacked": unpacked.Load(), "wheels": len(names),
	})
}

// library makes a decoder of the library the same as jubako's own.
type library struct {
	io.Reader
	input *bufio.Reader
}

func (l *library) Reset(r io.Reader) {
	l.input.Reset(r)
	_ = l.Reader.(flate.Resetter).Reset(l.input, nil) // which has no error to give
}

// pass goes once over a wheel and gives how many bytes it unpacks to.
func pass(name string, own bool) (int64, error) {
	z, err := zip.OpenReader(name)
	if err != nil {
		return 0, err
	}
	defer z.Close()
	content, raw := sha256.New(), sha256.New()
	buffer := make([]byte, 256<<10)
	var inflater interface {
		io.Reader
		Reset(io.Reader)
	} = &library{flate.NewReader(nil), bufio.NewReaderSize(nil, 64<<10)}
	if own {
		inflater = inflate.NewReader(nil)
	}
	var total int64
	for _, f := range z.File {
		r, err := f.OpenRaw()
		if err != nil {
			return total, err
		}
		in := io.TeeReader(r, raw)
		if f.Method == zip.Deflate {
			inflater.Reset(in)
			in = inflater
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{content}, struct{ io.Reader }{in}, buffer)
		total += n
		if err != nil {
			return total, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return total, nil
}
