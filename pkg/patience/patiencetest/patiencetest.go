// Package patiencetest gives tests servers that one has to be patient with.
package patiencetest

import "net/http"

// Cutter breaks the connection after the first Left bytes of an answer's body, which come through.
type Cutter struct {
	http.ResponseWriter
	Left int
}

// Write panics with http.ErrAbortHandler once the bytes have been sent.
func (c *Cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.Left)])
	if c.Left -= n; c.Left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}
