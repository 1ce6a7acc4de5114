package hint

import "strings"

// Nearest gives the known name that is most like another one, or "" where none is much like it. Known names are in lower case;
// the other one need not be.
func Nearest(name string, known []string) string {
	name = strings.ToLower(name)
	best, at := "", 1+len(name)/2
	for _, k := range known {
		if len(k)-len(name) >= at || len(name)-len(k) >= at {
			continue // so many letters would have to be inserted or left out alone
		}
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance counts the letters to insert, leave out, change, or swap with their neighbour on the way from a to b (optimal
// string alignment).
func distance(a, b string) int {
	var before []int // the row before the last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
