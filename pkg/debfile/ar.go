package debfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	maxMembers   = 64 // of the ar archive: a package has three, and may have some whose names begin with an underscore
)

// arReader goes through an ar archive (deb(5)) in one pass.
type arReader struct {
	r     io.Reader
	at    int64            // offset of the next header
	n     int              // members so far
	body  io.LimitedReader // of the current member
	begun bool
}

// member is one file of the archive; its content is read before next is called again.
type member struct {
	name string
	size int64
	io.Reader
}

// next gives the next member; io.EOF at the end.
func (a *arReader) next() (member, error) {
	if !a.begun {
		a.begun = true
		var magic [len(arMagic)]byte
		if _, err := io.ReadFull(a.r, magic[:]); err != nil || string(magic[:]) != arMagic {
			if err != nil && !cut(err) {
				return member{}, err
			}
			return member{}, errors.New("it is no ar archive, and so no Debian package")
		}
		a.at = int64(len(arMagic))
	}
	if a.body.N > 0 {
		if _, err := io.CopyN(io.Discard, &a.body, a.body.N); err != nil {
			return member{}, fmt.Errorf("it ends within the member at byte %d: %w", a.at, whole(err))
		}
	}
	header := make([]byte, arHeaderSize)
	switch n, err := io.ReadFull(a.r, header); {
	case errors.Is(err, io.EOF):
		return member{}, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		if len(bytes.TrimRight(header[:n], "\n")) == 0 {
			return member{}, io.EOF
		}
		return member{}, fmt.Errorf("it ends within the header at byte %d: %w", a.at, err)
	case err != nil:
		return member{}, err
	}
	if a.n++; a.n > maxMembers {
		return member{}, fmt.Errorf("it has more than %d members", maxMembers)
	}
	if string(header[58:]) != "`\n" {
		return member{}, fmt.Errorf("the member's header at byte %d is damaged", a.at)
	}
	name := strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/")
	size, err := strconv.ParseInt(strings.TrimRight(string(header[48:58]), " "), 10, 64)
	if err != nil || size < 0 {
		return member{}, fmt.Errorf("the member %q at byte %d has the size %.10q", name, a.at, header[48:58])
	}
	padded := size + size&1
	a.body = io.LimitedReader{R: a.r, N: padded}
	m := member{name: name, size: size, Reader: &exactReader{r: &a.body, n: size, name: name, at: a.at}}
	a.at += arHeaderSize + padded
	return m, nil
}

// exactReader yields n bytes, and an error where the archive ends before.
type exactReader struct {
	r    io.Reader
	n    int64
	name string
	at   int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if errors.Is(err, io.EOF) && e.n > 0 {
		err = fmt.Errorf("it ends %d bytes before the member %q, which begins at byte %d, does: %w", e.n, e.name, e.at, io.ErrUnexpectedEOF)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func cut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// whole makes of a premature end of file an unexpected one.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
