// Command python stands for Python in the tests' base: it compiles what comes in, in a manner of its own.
package main

import (
	"encoding/binary"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	for {
		module, err := read()
		if err == io.EOF {
			return
		}
		source, err2 := read()
		if err != nil || err2 != nil {
			os.Exit(1)
		}
		switch text := string(source); {
		case text == "is no Python":
			write("")
		case text == "hangs":
			time.Sleep(time.Hour)
		case text == "talks":
			write("one")
			write("two")
		case text == "floods":
			os.Stdout.Write([]byte{0xff, 0xff, 0xff, 0xff})
		default:
			write("pyc of " + string(module) + ": " + strings.ToUpper(text))
		}
	}
}

func read() ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(os.Stdin, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(n[:]))
	_, err := io.ReadFull(os.Stdin, b)
	return b, err
}

func write(s string) {
	os.Stdout.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...))
}
