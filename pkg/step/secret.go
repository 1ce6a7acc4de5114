package step

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
)

// MaxSecret bounds a secret, in bytes.
const MaxSecret = 64 << 10

// minNeedle is the length in bytes from which a line of a secret that is a file is looked for in outputs: shorter ones, as a
// configuration file has them, stand in other files as well.
const minNeedle = 20

// Secret is a value that a command sees and that goes nowhere else.
type Secret struct {
	Name  string // of the variable, or of the file in SecretsDir
	File  bool
	Value string
}

// Check refuses a value that could not be kept secret, or handed over.
func (s Secret) Check() error {
	switch {
	case len(s.Value) > MaxSecret:
		return fmt.Errorf("it has %d bytes; at most %d are taken", len(s.Value), MaxSecret)
	case len(strings.TrimSpace(s.Value)) < MinSecret:
		return hint.Wrap(fmt.Errorf("its value has fewer than %d characters, and could not be struck out of what the step prints", MinSecret),
			"what is so short is no secret: give it to the step with env")
	case !s.File && strings.ContainsRune(s.Value, 0):
		return errors.New("its value holds a NUL, which no variable can")
	}
	return nil
}

// needles are what no output may hold.
func (s Secret) needles() [][]byte {
	v := strings.TrimSpace(s.Value)
	if !strings.Contains(v, "\n") {
		return [][]byte{[]byte(v)}
	}
	list := [][]byte{}
	for line := range strings.Lines(v) {
		line = strings.TrimSpace(line)
		if len(line) >= minNeedle && !strings.HasPrefix(line, "-----") && !strings.HasPrefix(line, "#") { // not PEM's frame (RFC 7468), nor a comment
			list = append(list, []byte(line))
		}
	}
	return list
}

// findSecrets refuses a file that holds a secret verbatim, in its name, its target or its content.
func findSecrets(e fstree.Entry, secrets []Secret) error {
	for _, s := range secrets {
		for _, n := range s.needles() {
			if strings.Contains(e.Path, string(n)) || strings.Contains(e.Link, string(n)) {
				return leaked("a file's name", s)
			}
		}
	}
	if e.Content == nil || len(secrets) == 0 {
		return nil
	}
	found, err := scan(e.Content, secrets)
	if err != nil {
		return fmt.Errorf("reading /%s: %w", e.Path, err)
	}
	if found != nil {
		return leaked("/"+e.Path, *found)
	}
	return nil
}

func leaked(where string, s Secret) error {
	return hint.Wrap(fmt.Errorf("%s holds the secret %s", where, s.Name),
		"keep the value out of what the step writes, or write it outside of its outputs; if it is no secret, give it to the step with env")
}

// scan looks for the secrets in a file, without holding it.
func scan(c fstree.Content, secrets []Secret) (_ *Secret, err error) {
	longest := 0
	for _, s := range secrets {
		for _, n := range s.needles() {
			longest = max(longest, len(n))
		}
	}
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 0, longest+256<<10)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for i, s := range secrets {
			for _, needle := range s.needles() {
				if bytes.Contains(buf, needle) {
					return &secrets[i], nil
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		keep := max(0, min(len(buf), longest-1)) // a secret may begin here and end in what is read next
		buf = buf[:copy(buf[:cap(buf)], buf[len(buf)-keep:])]
	}
}
