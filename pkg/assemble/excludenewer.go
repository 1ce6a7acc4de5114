package assemble

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jubako/jubako/pkg/lazyre"
)

var spanRE = lazyre.New(`^(?:P?(\d+)(W|D)|PT(\d+)H|(\d+) ?(hours?|days?|weeks?)(?: ago)?)$`)

// excludeNewer reads a time as uv's exclude-newer has it: a time (RFC 3339), a date, whose whole day counts, or a span before
// now ("7 days", "P7D"). None gives the zero time.
func excludeNewer(text string, now time.Time) (time.Time, error) {
	if text == "" || text == "false" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return t.AddDate(0, 0, 1), nil
	}
	m := spanRE().FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, fmt.Errorf("%q is no time, date or span that jubako reads", text)
	}
	hours := map[string]int{"W": 7 * 24, "D": 24, "h": 1, "d": 24, "w": 7 * 24}
	n, unit := m[1]+m[3]+m[4], m[2]
	switch {
	case m[3] != "":
		unit = "h"
	case m[5] != "":
		unit = m[5][:1]
	}
	count, err := strconv.Atoi(n)
	if err != nil || count > 1_000_000 {
		return time.Time{}, fmt.Errorf("%q is too long a span", text)
	}
	return now.Add(-time.Duration(count*hours[unit]) * time.Hour), nil
}
