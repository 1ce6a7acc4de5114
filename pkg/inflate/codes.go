package inflate

import "math/bits"

const (
	maxCodeBits  = 15
	maxLitCodes  = 286 // 256 literals, the end of a block, 29 lengths
	maxDistCodes = 30

	litBits  = 11 // of a code that are looked up at once
	distBits = 8

	// Entries enough for the longest codes: zlib's examples/enough.c computes 2342 for 288 symbols of 15 bits looked up by 11,
	// and 402 for 32 symbols by 8.
	litEntries  = 2342
	distEntries = 402
)

// entry is what a code means: the bits that it takes (0 to 5), then its extra bits (8 to 11), flags, and from bit 16 on
// the literal, or the least length or distance. Of a subtable, the extra bits are those to look it up by, and the value is where it
// begins.
type entry = uint32

const (
	isLiteral  entry = 1 << 12
	isSubtable entry = 1 << 13
	isEnd      entry = 1 << 14
	isBad      entry = 1 << 15
	isSpecial        = isSubtable | isEnd | isBad
)

type (
	litTable  [litEntries]entry
	distTable [distEntries]entry
)

// What symbols mean (section 3.2.5), without the bits that their codes take.
var (
	litMeaning  = literals()
	distMeaning = distances()
)

func literals() (m [288]entry) {
	for i := range 256 {
		m[i] = isLiteral | entry(i)<<16
	}
	m[256] = isEnd
	base := entry(3)
	for i := range entry(28) {
		extra := entry(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		m[257+i] = base<<16 | extra<<8
		base += 1 << extra
	}
	m[285] = 258 << 16
	m[286], m[287] = isBad, isBad // in the fixed codes alone
	return m
}

func distances() (m [32]entry) {
	base := entry(1)
	for i := range entry(30) {
		extra := entry(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		m[i] = base<<16 | extra<<8
		base += 1 << extra
	}
	m[30], m[31] = isBad, isBad
	return m
}

// build makes a table of the codes with these lengths (section 3.2.2); ok is false where they are not the lengths of a
// complete set, nor, where single says so, of one code of one bit. In a set without codes every code is bad.
func build(table []entry, primary uint, lens []uint8, meaning []entry, single bool) (ok bool) {
	var count [maxCodeBits + 1]int
	longest := 0
	for _, n := range lens {
		count[n]++
		longest = max(longest, int(n))
	}
	count[0] = 0
	left := 1
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return false
		}
	}
	if left > 0 {
		if longest > 1 || longest == 1 && !single {
			return false
		}
	}
	var offset [maxCodeBits + 2]int
	for n := 1; n <= maxCodeBits; n++ {
		offset[n+1] = offset[n] + count[n]
	}
	var sorted [288]uint16
	for s, n := range lens {
		if n != 0 {
			sorted[offset[n]] = uint16(s)
			offset[n]++
		}
	}
	// Codes in order, bits reversed, since the stream has the first bit of a code in the lowest place.
	// The table grows with the codes' length: whatever a longer index begins with means the same.
	table[0] = isBad
	code, i := uint(0), 0
	next := 1 << primary
	subAt, subBits, subPrefix := 0, uint(0), uint(1)<<primary // no prefix is this
	for n := uint(1); n <= max(primary, uint(longest)); n++ {
		if n <= primary {
			copy(table[1<<(n-1):1<<n], table)
		}
		for before := range count[n] {
			s := sorted[i]
			i++
			reversed := uint(bits.Reverse16(uint16(code))) >> (16 - n)
			if n <= primary {
				table[reversed] = meaning[s] | entry(n)
			} else {
				prefix := reversed & (1<<primary - 1)
				if prefix != subPrefix {
					subPrefix = prefix
					// Wide enough for the longest code with this prefix: as many codes as are left fill it.
					subBits = n - primary
					room := 1<<subBits - (count[n] - before)
					for m := n; room > 0 && m < maxCodeBits; {
						m++
						subBits++
						room = room<<1 - count[m]
					}
					subAt = next
					next += 1 << subBits
					if next > len(table) {
						return false
					}
					table[prefix] = isSubtable | entry(subBits)<<8 | entry(subAt)<<16
				}
				e := meaning[s] | entry(n-primary)
				for k := reversed >> primary; k < 1<<subBits; k += 1 << (n - primary) {
					table[subAt+int(k)] = e
				}
			}
			code++
		}
		code <<= 1
	}
	return true
}

var fixedLit, fixedDist = fixedTables()

func fixedTables() (l litTable, d distTable) {
	var lens [288]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	var dists [32]uint8
	for i := range dists {
		dists[i] = 5
	}
	if !build(l[:], litBits, lens[:], litMeaning[:], false) || !build(d[:], distBits, dists[:], distMeaning[:], false) {
		panic("inflate: the fixed codes are not complete")
	}
	return l, d
}

func (z *Reader) fixed() { z.lit, z.dist = fixedLit, fixedDist }

// The order in which the lengths of the code length code stand (section 3.2.7).
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

var lengthMeaning = func() (m [19]entry) {
	for i := range m {
		m[i] = entry(i) << 16
	}
	return m
}()

// dynamic reads the codes of a block (section 3.2.7).
func (z *Reader) dynamic() error {
	if err := z.need(14); err != nil {
		return err
	}
	nlit, ndist, nlen := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
	if nlit > maxLitCodes || ndist > maxDistCodes {
		return z.corrupt("more codes than there are symbols")
	}
	var lens [19]uint8
	for i := range nlen {
		if err := z.need(3); err != nil {
			return err
		}
		lens[lengthOrder[i]] = uint8(z.take(3))
	}
	var table [1 << 7]entry
	if !build(table[:], 7, lens[:], lengthMeaning[:], false) {
		return z.corrupt("the code length codes are no complete set")
	}
	for i := 0; i < nlit+ndist; {
		e, err := z.symbol(table[:], 7)
		if err != nil {
			return err
		}
		if e&isBad != 0 {
			return z.corrupt("a code length that no code has")
		}
		sym := e >> 16
		if sym < 16 {
			z.lens[i] = uint8(sym)
			i++
			continue
		}
		var again uint8
		least, extra := 3, uint(3)
		switch sym {
		case 16:
			if i == 0 {
				return z.corrupt("a repeated code length at the begin")
			}
			again, extra = z.lens[i-1], 2
		case 18:
			least, extra = 11, 7
		}
		if err := z.need(extra); err != nil {
			return err
		}
		n := least + int(z.take(extra))
		if i+n > nlit+ndist {
			return z.corrupt("more code lengths than codes")
		}
		for range n {
			z.lens[i] = again
			i++
		}
	}
	if z.lens[256] == 0 {
		return z.corrupt("a block without a code for its end")
	}
	if !build(z.lit[:], litBits, z.lens[:nlit], litMeaning[:], true) {
		return z.corrupt("the codes of literals and lengths are no complete set")
	}
	if !build(z.dist[:], distBits, z.lens[nlit:nlit+ndist], distMeaning[:], true) {
		return z.corrupt("the codes of distances are no complete set")
	}
	return nil
}
