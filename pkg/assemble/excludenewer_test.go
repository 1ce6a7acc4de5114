package assemble

import (
	"testing"
	"time"
)

func TestExcludeNewer(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z", "2026-01-02": "2026-01-03T00:00:00Z", "P7D": "2026-11-18T12:00:00Z", "P2W": "2026-11-11T12:00:00Z",
		"PT24H": "2026-11-24T12:00:00Z", "7 days": "2026-11-18T12:00:00Z", "1 week": "2026-11-18T12:00:00Z", "36 hours ago": "2026-11-24T00:00:00Z",
	} {
		got, err := excludeNewer(text, now)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "false"} {
		if got, err := excludeNewer(text, now); err != nil || !got.IsZero() {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"yesterday", "P1Y", "2026-13-01", "99999999999 days"} {
		if got, err := excludeNewer(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
