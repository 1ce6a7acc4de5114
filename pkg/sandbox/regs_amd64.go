package sandbox

import "golang.org/x/sys/unix"

// regs are the registers of a stopped thread, by their part in a system call.
type regs struct{ r unix.PtraceRegs }

// syscallInsn is the length of the instruction that makes a system call.
const syscallInsn = 2

func (g *regs) nr() uint64     { return g.r.Orig_rax }
func (g *regs) ret() int64     { return int64(g.r.Rax) }
func (g *regs) setRet(v int64) { g.r.Rax = uint64(v) }

func (g *regs) args() [6]uint64 {
	return [6]uint64{g.r.Rdi, g.r.Rsi, g.r.Rdx, g.r.R10, g.r.R8, g.r.R9}
}

func (g *regs) setArg(i int, v uint64) {
	*[]*uint64{&g.r.Rdi, &g.r.Rsi, &g.r.Rdx, &g.r.R10, &g.r.R8, &g.r.R9}[i] = v
}

// setNr changes the system call that the thread is about to make; -1 is none.
func (g *regs) setNr(_ int, nr int64) error {
	g.r.Orig_rax = uint64(nr)
	return nil
}

// again makes the thread make the system call nr once more from its start.
func (g *regs) again(nr uint64) {
	g.r.Rip -= syscallInsn
	g.r.Rax = nr
}

// retIsArg0 says that a call's result stands where its first argument was.
const retIsArg0 = false
