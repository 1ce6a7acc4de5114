package step

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/fstree"
)

// TestRecorderBreaks: a value is struck out wherever a long line is broken, and however its pieces come.
func TestRecorderBreaks(t *testing.T) {
	const value = "hunter2hunter2"
	for before := maxLine - 40; before < maxLine+20; before++ {
		for _, piece := range []int{1, 7, 1 << 20} {
			var log bytes.Buffer
			r := NewRecorder(&log, []string{"PASSWORD=" + value})
			text := strings.Repeat("x", before) + value + strings.Repeat("y", maxLine)
			for len(text) > 0 {
				n := min(piece, len(text))
				if piece == 1 && before%10 != 0 {
					n = len(text)
				}
				_, _ = io.WriteString(r, text[:n])
				text = text[n:]
			}
			r.LastLines(1)
			all := strings.ReplaceAll(log.String(), "\n", "")
			if strings.Contains(all, "hunter2") || strings.Count(all, "$PASSWORD") != 1 || len(all) != before+len("$PASSWORD")+maxLine {
				t.Fatalf("%d bytes before it, in pieces of %d: %q", before, piece, all)
			}
		}
	}
}

// TestRecorderLines: of a secret of several lines, each is struck out.
func TestRecorderLines(t *testing.T) {
	var log bytes.Buffer
	r := NewRecorder(&log, []string{"KEY=-----BEGIN KEY-----\nAAAABBBBCCCC\nxy\n"})
	_, _ = io.WriteString(r, "the key AAAABBBBCCCC.\n")
	if log.String() != "the key $KEY.\n" {
		t.Errorf("%q", log.String())
	}
}

// TestFindSecrets: a value is found wherever it lies, also where two reads meet.
func TestFindSecrets(t *testing.T) {
	secret := []Secret{{Name: "A", Value: "first-value"}, {Name: "KEY", File: true, Value: "-----BEGIN RSA-----\nMIIEpAIBAAKCAQEA7777\nshort\n# a comment that is long enough\n-----END-----\n"}}
	const chunk = 256 << 10
	for _, at := range []int{0, 1, chunk - 5, chunk, chunk + 11, 2*chunk + 3, 3*chunk - 11} {
		content := append(bytes.Repeat([]byte{0}, at), "first-value"...)
		for _, more := range []int{0, 1, chunk} {
			e := fstree.Entry{Path: "x", Kind: fstree.File, Content: fstree.Bytes(append(content, make([]byte, more)...))}
			if err := findSecrets(e, secret); err == nil || !strings.Contains(err.Error(), "/x holds the secret A") {
				t.Errorf("at %d, %d after it: %v", at, more, err)
			}
		}
	}
	for text, want := range map[string]string{
		"": "", "first-valu": "", "short": "", "-----BEGIN RSA-----": "", "# a comment that is long enough": "",
		"x = MIIEpAIBAAKCAQEA7777;": "/x holds the secret KEY",
	} {
		err := findSecrets(fstree.Entry{Path: "x", Kind: fstree.File, Content: fstree.Bytes(text)}, secret)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckSecret(t *testing.T) {
	for value, ok := range map[string]bool{"abcdef": true, "abc": false, "  abc   \n": false, "": false, "abcdef\x00": false, strings.Repeat("x", MaxSecret): true, strings.Repeat("x", MaxSecret+1): false} {
		if err := (Secret{Name: "A", Value: value}).Check(); (err == nil) != ok {
			t.Errorf("%.20q: %v", value, err)
		}
	}
}

func FuzzRecorder(f *testing.F) {
	f.Add("secret-value", "a secret-value\nb", 3)
	f.Add("aaaaaa", strings.Repeat("a", 3*maxLine), 100)
	f.Fuzz(func(t *testing.T, secret, text string, piece int) {
		if len(secret) < MinSecret || len(text) > 1<<20 || strings.ContainsAny(secret, "\r\n$") || strings.Contains(secret, "A") {
			return
		}
		var log bytes.Buffer
		r := NewRecorder(&log, []string{"A=" + secret})
		for piece = max(1, piece); len(text) > 0; {
			n := min(piece, len(text))
			_, _ = io.WriteString(r, text[:n])
			text = text[n:]
		}
		r.LastLines(1)
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, secret) {
				t.Fatalf("%q is in %q", secret, line)
			}
		}
	})
}
