package xz

import "io"

// corrupt is an error in the compressed bytes of a block.
type corrupt struct{ text string }

func (e *corrupt) Error() string { return e.text }

// The constants of LZMA (LZMA specification, 2015).
const (
	states      = 12
	posStates   = 16 // at most, of 1<<pb
	probInit    = 1 << 10
	probBits    = 11
	moveBits    = 5
	top         = 1 << 24
	minMatch    = 2
	maxChunk    = 1 << 21 // bytes that come out of a chunk, at most (xz format, LZMA2)
	literalSize = 0x300
	inputSize   = 1 << 17 // a power of two above that of any chunk, so that indexes can be masked
	inputMask   = inputSize - 1
)

// lengthCoder holds the probabilities of a match's length.
type lengthCoder struct {
	choice, choice2 uint16
	low, mid        [posStates][8]uint16
	high            [256]uint16
}

// model is all that is learnt on the way.
type model struct {
	isMatch, isRep0Long             [states * posStates]uint16
	isRep, isRep0, isRep1, isRep2   [states]uint16
	slot                            [4][64]uint16
	special                         [128]uint16
	align                           [16]uint16
	length, repLength               lengthCoder
	literal                         [literalSize << 4]uint16 // lc + lp are at most 4 in LZMA2
	state, rep0, rep1, rep2, rep3   uint32
	lc, literalPosMask, posMask     uint32
	propsKnown, stateKnown, started bool
}

// decoder decodes LZMA2 chunks into a buffer, which is the dictionary at the same time.
type decoder struct {
	model
	dict  int    // its size in bytes
	buf   []byte // what came out: the dictionary, and behind it what has not been read yet
	zero  int    // where in buf the dictionary was begun; below 0 once it has been moved forward
	read  int    // up to where buf was read
	end   int    // of what is in buf
	input [inputSize]byte
}

func (d *decoder) pending() []byte { return d.buf[d.read:d.end] }

func (d *decoder) clear() { d.zero, d.read, d.end = 0, 0, 0 }

// begin is the start of a block.
func (d *decoder) begin(dict int) {
	d.clear()
	d.dict = max(dict, 4096)
	d.propsKnown, d.stateKnown, d.started = false, false, false
}

// slack is how much the buffer has beside a dictionary of that size: so much comes out for each time that it is moved forward.
func slack(dict int) int { return max(maxChunk, dict/2) }

// room makes sure that n bytes fit behind the dictionary. The buffer grows with what comes out, up to its bound.
func (d *decoder) room(n int) {
	if d.end+n <= len(d.buf) {
		return
	}
	if most := d.dict + slack(d.dict); len(d.buf) < most {
		b := make([]byte, min(most, max(2*len(d.buf), d.end+n, 256<<10)))
		copy(b, d.buf[:d.end])
		d.buf = b
		if d.end+n <= len(b) {
			return
		}
	}
	keep := min(d.dict, d.end-max(d.zero, 0))
	copy(d.buf, d.buf[d.end-keep:d.end])
	d.zero, d.read, d.end = d.zero-d.end+keep, keep, keep
}

// chunk decodes the next chunk; false at the end of the block. All of the one before has been read by then.
func (d *decoder) chunk(in *counter) (bool, error) {
	var head [6]byte
	if err := in.full(head[:1]); err != nil {
		return false, err
	}
	control := head[0]
	switch {
	case control == 0:
		return false, nil
	case control == 1 || control >= 0xe0:
		d.zero, d.started = d.end, true
	case !d.started:
		return false, &corrupt{"the block does not begin with a new dictionary"}
	}
	if control < 0x80 {
		if control > 2 {
			return false, &corrupt{"the chunk is of no known kind"}
		}
		if err := in.full(head[:2]); err != nil {
			return false, err
		}
		n := int(head[0])<<8 + int(head[1]) + 1
		d.room(n)
		if err := in.full(d.buf[d.end : d.end+n]); err != nil {
			return false, err
		}
		d.end += n
		return true, nil
	}
	if err := in.full(head[:4]); err != nil {
		return false, err
	}
	plain := int(control&0x1f)<<16 + int(head[0])<<8 + int(head[1]) + 1
	packed := int(head[2])<<8 + int(head[3]) + 1
	if control >= 0xc0 {
		if err := in.full(head[5:6]); err != nil {
			return false, err
		}
		if err := d.properties(head[5]); err != nil {
			return false, err
		}
	}
	if control >= 0xa0 {
		d.resetState()
	}
	if !d.propsKnown || !d.stateKnown {
		return false, &corrupt{"the chunk does not say how it is to be read"}
	}
	if packed < 5 {
		return false, &corrupt{"the chunk is too short"}
	}
	if err := in.full(d.input[:packed]); err != nil {
		return false, err
	}
	d.room(plain)
	return true, d.lzma(plain, packed)
}

// properties reads lc, lp and pb.
func (d *decoder) properties(b byte) error {
	lc, lp, pb := uint32(b)%9, uint32(b)/9%5, uint32(b)/45
	if b >= 9*5*5 || lc+lp > 4 {
		return &corrupt{"the chunk's properties are none"}
	}
	d.lc, d.literalPosMask, d.posMask, d.propsKnown = lc, 1<<lp-1, 1<<pb-1, true
	return nil
}

// resetState forgets what was learnt.
func (d *decoder) resetState() {
	d.state, d.rep0, d.rep1, d.rep2, d.rep3, d.stateKnown = 0, 0, 0, 0, 0, true
	for _, p := range [][]uint16{
		d.isMatch[:], d.isRep0Long[:], d.isRep[:], d.isRep0[:], d.isRep1[:], d.isRep2[:], d.slot[0][:], d.slot[1][:], d.slot[2][:], d.slot[3][:],
		d.special[:], d.align[:], d.literal[:],
	} {
		fill(p)
	}
	d.length.reset()
	d.repLength.reset()
}

func (l *lengthCoder) reset() {
	l.choice, l.choice2 = probInit, probInit
	for i := range l.low {
		fill(l.low[i][:])
		fill(l.mid[i][:])
	}
	fill(l.high[:])
}

func fill(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

// ranger is the range decoder's state. It travels by value, so that it stays in registers.
type ranger struct {
	rng, code, pos uint32 // pos is of the next byte of the chunk
}

// bit decodes one bit by a probability.
func (r ranger) bit(p *uint16, in *[inputSize]byte) (uint32, ranger) {
	if r.rng < top {
		r.rng, r.code, r.pos = r.rng<<8, r.code<<8|uint32(in[r.pos&inputMask]), r.pos+1
	}
	v := uint32(*p)
	bound := r.rng >> probBits * v
	if r.code < bound {
		*p = uint16(v + (1<<probBits-v)>>moveBits)
		r.rng = bound
		return 0, r
	}
	*p = uint16(v - v>>moveBits)
	r.rng -= bound
	r.code -= bound
	return 1, r
}

// step decodes one bit without a branch on it, for bits that cannot be foreseen: mask is all ones for 0, and 0 for 1.
func step(rng, code, v uint32) (rng2, code2, v2, mask uint32) {
	bound := rng >> probBits * v
	mask = uint32(int64(uint64(code)-uint64(bound)) >> 63)
	rng2 = bound&mask | (rng-bound)&^mask
	code2 = code - bound&^mask
	// v + (2048-v)>>5 for 0, v - v>>5 for 1.
	v2 = uint32(int32(v) - (int32(v)-int32(mask&(1<<probBits-1<<moveBits+1)))>>moveBits)
	return rng2, code2, v2, mask
}

// literal decodes a byte.
func (r ranger) literal(p *[literalSize]uint16, in *[inputSize]byte) (uint32, ranger) {
	rng, code, pos := r.rng, r.code, r.pos
	sym := uint32(1)
	for sym < 0x100 {
		if rng < top {
			rng, code, pos = rng<<8, code<<8|uint32(in[pos&inputMask]), pos+1
		}
		var v, mask uint32
		at := &p[sym&0xff]
		rng, code, v, mask = step(rng, code, uint32(*at))
		*at = uint16(v)
		sym = sym<<1 + 1 + mask
	}
	return sym & 0xff, ranger{rng, code, pos}
}

// matched decodes a byte that follows a match, by the byte at the match's distance.
func (r ranger) matched(p *[literalSize]uint16, match uint32, in *[inputSize]byte) (uint32, ranger) {
	rng, code, pos := r.rng, r.code, r.pos
	sym, offset := uint32(1), uint32(0x100)
	for sym < 0x100 {
		match <<= 1
		bit := match & offset
		if rng < top {
			rng, code, pos = rng<<8, code<<8|uint32(in[pos&inputMask]), pos+1
		}
		var v, mask uint32
		at := &p[(offset+bit+sym)%literalSize]
		rng, code, v, mask = step(rng, code, uint32(*at))
		*at = uint16(v)
		sym = sym<<1 + 1 + mask
		offset &= bit ^ mask // stays as long as the bits are equal
	}
	return sym & 0xff, ranger{rng, code, pos}
}

// tree decodes a number of as many bits as the tree is deep; p has 1<<depth probabilities.
func (r ranger) tree(p []uint16, in *[inputSize]byte) (uint32, ranger) {
	rng, code, pos := r.rng, r.code, r.pos
	sym := uint32(1)
	for sym < uint32(len(p)) {
		if rng < top {
			rng, code, pos = rng<<8, code<<8|uint32(in[pos&inputMask]), pos+1
		}
		var v, mask uint32
		at := &p[sym]
		rng, code, v, mask = step(rng, code, uint32(*at))
		*at = uint16(v)
		sym = sym<<1 + 1 + mask
	}
	return sym - uint32(len(p)), ranger{rng, code, pos}
}

// reverse decodes a number of n bits, the lowest first, with the tree that begins at base in p.
func (r ranger) reverse(p []uint16, base, n uint32, in *[inputSize]byte) (uint32, ranger) {
	var sym, bit uint32
	at := uint32(1)
	for i := range n {
		bit, r = r.bit(&p[base+at], in)
		at = at<<1 + bit
		sym |= bit << i
	}
	return sym, r
}

// direct decodes n bits that are all as likely.
func (r ranger) direct(n uint32, in *[inputSize]byte) (uint32, ranger) {
	rng, code, pos := r.rng, r.code, r.pos
	v := uint32(0)
	for range n {
		if rng < top {
			rng, code, pos = rng<<8, code<<8|uint32(in[pos&inputMask]), pos+1
		}
		rng >>= 1
		code -= rng
		t := uint32(int32(code) >> 31)
		code += rng & t
		v = v<<1 + t + 1
	}
	return v, ranger{rng, code, pos}
}

// decode decodes a length, without the shortest one.
func (l *lengthCoder) decode(r ranger, posState uint32, in *[inputSize]byte) (uint32, ranger) {
	var bit, n uint32
	if bit, r = r.bit(&l.choice, in); bit == 0 {
		return r.tree(l.low[posState%posStates][:], in)
	}
	if bit, r = r.bit(&l.choice2, in); bit == 0 {
		n, r = r.tree(l.mid[posState%posStates][:], in)
		return n + 8, r
	}
	n, r = r.tree(l.high[:], in)
	return n + 16, r
}

// distance decodes a match's distance less one.
func (m *model) distance(r ranger, length uint32, in *[inputSize]byte) (uint32, ranger) {
	slot, r := r.tree(m.slot[min(length, 3)][:], in)
	if slot < 4 {
		return slot, r
	}
	n := slot>>1 - 1
	dist := (2 | slot&1) << n
	var low uint32
	if slot < 14 {
		low, r = r.reverse(m.special[:], dist-slot, n, in)
		return dist + low, r
	}
	low, r = r.direct(n-4, in)
	dist += low << 4
	low, r = r.reverse(m.align[:], 0, 4, in)
	return dist + low, r
}

// The errors of a chunk that is not what it should be.
var (
	errDistance = &corrupt{"a match reaches back beyond the dictionary"}
	errLength   = &corrupt{"a match is longer than its chunk"}
	errEnd      = &corrupt{"the chunk does not end where it says"}
)

// lzma decodes a chunk, whose bytes lie in d.input, behind what came out before.
func (d *decoder) lzma(plain, packed int) error {
	in, m := &d.input, &d.model
	r := ranger{rng: 0xffffffff, code: uint32(in[1])<<24 | uint32(in[2])<<16 | uint32(in[3])<<8 | uint32(in[4]), pos: 5}
	if in[0] != 0 {
		return errEnd
	}
	at, from := d.end, max(d.zero, 0)
	end := at + plain
	out := d.buf[:end]
	var bit uint32
	for at < end {
		pos := uint32(at - d.zero)
		posState := pos & m.posMask
		state := m.state % states
		if bit, r = r.bit(&m.isMatch[state*posStates+posState%posStates], in); bit == 0 {
			var sym, before uint32
			if at > from {
				before = uint32(out[at-1])
			}
			p := (*[literalSize]uint16)(m.literal[literalSize*(((pos&m.literalPosMask)<<m.lc+before>>(8-m.lc))&15):])
			if state < 7 {
				sym, r = r.literal(p, in)
			} else {
				back := at - int(m.rep0) - 1
				if back < from {
					return errDistance
				}
				sym, r = r.matched(p, uint32(out[back]), in)
			}
			out[at] = byte(sym)
			at++
			m.state = afterLiteral[state]
			continue
		}
		var length uint32
		length, r = m.match(r, state, posState, in)
		n := int(length)
		back := at - int(m.rep0) - 1
		if back < from || int64(m.rep0) >= int64(d.dict) {
			return errDistance
		}
		if n > end-at {
			return errLength
		}
		if at-back >= n {
			copy(out[at:at+n], out[back:back+n])
		} else {
			for i := range n {
				out[at+i] = out[back+i]
			}
		}
		at += n
	}
	if r.rng < top {
		r.code, r.pos = r.code<<8|uint32(in[r.pos&inputMask]), r.pos+1
	}
	if r.code != 0 || int(r.pos) != packed {
		return errEnd
	}
	d.end = at
	return nil
}

var afterLiteral = [states]uint32{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// match decodes the length of a match, and leads the last four distances on.
func (m *model) match(r ranger, state, posState uint32, in *[inputSize]byte) (uint32, ranger) {
	long := func(short, other uint32) uint32 {
		if state < 7 {
			return short
		}
		return other
	}
	var bit, n uint32
	if bit, r = r.bit(&m.isRep[state], in); bit == 0 {
		m.rep3, m.rep2, m.rep1 = m.rep2, m.rep1, m.rep0
		n, r = m.length.decode(r, posState, in)
		m.rep0, r = m.distance(r, n, in)
		m.state = long(7, 10)
		return n + minMatch, r
	}
	if bit, r = r.bit(&m.isRep0[state], in); bit == 0 {
		if bit, r = r.bit(&m.isRep0Long[state*posStates+posState%posStates], in); bit == 0 {
			m.state = long(9, 11)
			return 1, r
		}
	} else if bit, r = r.bit(&m.isRep1[state], in); bit == 0 {
		m.rep0, m.rep1 = m.rep1, m.rep0
	} else if bit, r = r.bit(&m.isRep2[state], in); bit == 0 {
		m.rep0, m.rep1, m.rep2 = m.rep2, m.rep0, m.rep1
	} else {
		m.rep0, m.rep1, m.rep2, m.rep3 = m.rep3, m.rep0, m.rep1, m.rep2
	}
	n, r = m.repLength.decode(r, posState, in)
	m.state = long(8, 11)
	return n + minMatch, r
}

var _ io.Reader = (*Reader)(nil)
