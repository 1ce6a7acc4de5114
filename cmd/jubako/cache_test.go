package main

import "testing"

// TestParseSize: what is no size is refused, above all where it could pass for 0, which empties the cache.
func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "0GB": 0, "17": 17, "17B": 17, "1.5kB": 1500, "2KB": 2000, "500MB": 5e8, "10 GB": 1e10, "1TB": 1e12, "1e3MB": 1e9} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "GB", "B", "nan", "NaN", "nanGB", "inf", "-inf", "+Inf", "Infinity", "1e400", "-1", "-0", "-0GB", "-1e-400", "5000000TB", "much", "1GBB", "1 G", "0x"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}
