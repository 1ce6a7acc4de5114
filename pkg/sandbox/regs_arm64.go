package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// regs are the registers of a stopped thread, by their part in a system call.
type regs struct{ r unix.PtraceRegs }

// syscallInsn is the length of the instruction that makes a system call.
const syscallInsn = 4

// ntSystemCall is the register set that holds the number of the system call being made (NT_ARM_SYSTEM_CALL).
const ntSystemCall = 0x404

func (g *regs) nr() uint64     { return g.r.Regs[8] }
func (g *regs) ret() int64     { return int64(g.r.Regs[0]) }
func (g *regs) setRet(v int64) { g.r.Regs[0] = uint64(v) }

func (g *regs) args() [6]uint64 { return [6]uint64(g.r.Regs[:6]) }

func (g *regs) setArg(i int, v uint64) { g.r.Regs[i] = v }

// setNr changes the system call that the thread is about to make; -1 is none.
func (g *regs) setNr(tid int, nr int64) error {
	n := int32(nr)
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&n)), Len: 4}
	return ptrace(unix.PTRACE_SETREGSET, tid, ntSystemCall, uintptr(unsafe.Pointer(&iov)))
}

// again makes the thread make the system call nr once more from its start.
func (g *regs) again(nr uint64) {
	g.r.Pc -= syscallInsn
	g.r.Regs[8] = nr
}

// retIsArg0 says that a call's result stands where its first argument was.
const retIsArg0 = true
