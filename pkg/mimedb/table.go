package mimedb

// table is a map from strings whose entries come in the order in which GLib's GHashTable yields them: several of the
// database's files have no other order. It is open addressing with steps that grow by one; entries are never removed.
type table[V any] struct {
	shift  int
	hashes []uint32 // 0 where a place is free
	keys   []string
	values []V
	n      int
}

// primes are the largest below each power of two, by the power.
var primes = [...]uint32{1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 262139, 524287, 1048573, 2097143, 4194301}

const minShift = 3

// hash is g_str_hash: h*33 + c from 5381, the bytes signed. 0 and 1 mean something else to the table.
func hash(s string) uint32 {
	h := uint32(5381)
	for i := range len(s) {
		h = h*33 + uint32(int32(int8(s[i])))
	}
	return max(h, 2)
}

func (t *table[V]) first(h uint32) uint32 { return h * 11 % primes[t.shift] }

// find gives the place of a key, or the free one where it belongs.
func (t *table[V]) find(key string) (int, bool) {
	h := hash(key)
	mask := uint32(len(t.hashes) - 1)
	at := t.first(h)
	for step := uint32(1); t.hashes[at] != 0; step++ {
		if t.hashes[at] == h && t.keys[at] == key {
			return int(at), true
		}
		at = (at + step) & mask
	}
	return int(at), false
}

func (t *table[V]) get(key string) (v V, ok bool) {
	if t.n == 0 {
		return v, false
	}
	at, ok := t.find(key)
	if !ok {
		return v, false // a free place may still hold what has moved away
	}
	return t.values[at], true
}

func (t *table[V]) set(key string, v V) {
	if t.hashes == nil {
		t.lay(minShift)
	}
	at, there := t.find(key)
	t.values[at] = v
	if there {
		return
	}
	t.hashes[at], t.keys[at] = hash(key), key
	t.n++
	if size := len(t.hashes); size <= t.n+t.n/16 {
		t.grow()
	}
}

func (t *table[V]) lay(shift int) {
	t.shift = shift
	size := 1 << shift
	t.hashes = append(t.hashes, make([]uint32, size-len(t.hashes))...)
	t.keys = append(t.keys, make([]string, size-len(t.keys))...)
	t.values = append(t.values, make([]V, size-len(t.values))...)
}

// grow makes room, and moves the entries to their new places inside the same arrays: an entry pushes out the one that has
// not been moved yet.
func (t *table[V]) grow() {
	old := len(t.hashes)
	shift := 0
	for n := int(float64(t.n) * 1.333); n > 0; n >>= 1 {
		shift++
	}
	t.lay(max(shift, minShift, t.shift))
	moved := make([]bool, len(t.hashes))
	mask := uint32(len(t.hashes) - 1)
	for i := range old {
		if t.hashes[i] == 0 || moved[i] {
			continue
		}
		h, k, v := t.hashes[i], t.keys[i], t.values[i]
		t.hashes[i] = 0
		for {
			at := t.first(h)
			for step := uint32(1); moved[at]; step++ {
				at = (at + step) & mask
			}
			moved[at] = true
			h2, k2, v2 := t.hashes[at], t.keys[at], t.values[at]
			t.hashes[at], t.keys[at], t.values[at] = h, k, v
			if h2 == 0 {
				break
			}
			h, k, v = h2, k2, v2
		}
	}
}

// each yields the entries in their order.
func (t *table[V]) each(yield func(string, V) bool) {
	for i, h := range t.hashes {
		if h != 0 && !yield(t.keys[i], t.values[i]) {
			return
		}
	}
}
