// Package patience is what every client of jubako needs to wait well: a sleep that a context ends, the wait that a server
// asks for, which failures pass, and a limit to how long a silent one is listened to.
//
// It imports nothing of jubako.
package patience

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Sleep waits, and ends early with the context's cause.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// RetryAfter reads the two forms of the header (RFC 9110, section 10.2.3), and says whether it asks for a wait at all. A
// date is measured against the answer's own, so that no clock of this machine matters. No wait is longer than a day: that
// is beyond any patience, and far from what a Duration cannot hold.
func RetryAfter(resp *http.Response) (time.Duration, bool) {
	v := resp.Header.Get("Retry-After")
	if secs, err := strconv.ParseInt(v, 10, 64); err == nil && secs >= 0 {
		const day = 24 * 60 * 60
		return time.Duration(min(secs, day)) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}
